package hfconfig

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// expr is an expression of a schema. Expressions are immutable and shared.
//
// They are used twice: bind folds all that the config decides, which is nearly
// everything, and leaves a residue over loop variables; that is evaluated once
// per turn of the loop.
type expr interface {
	// fold returns the expression with all known names replaced. What cannot be
	// computed stays as it is, and fails when (and only if) it is evaluated.
	fold(s *scope) expr
	// eval computes a folded expression.
	eval(f *frame) (value, error)
	String() string
}

type (
	literal struct{ v value }
	name    struct{ key string } // a config key, dotted for sub-configs, or a local name
	slot    struct {             // a loop variable, after fold
		n    int
		name string
	}
	failure struct{ err error } // after fold: what fails if it is evaluated
	unary   struct {
		op string // "-" or "not"
		x  expr
	}
	binary struct {
		op   string
		x, y expr
	}
	choice struct{ then, cond, els expr }
	index  struct{ x, i expr }
	slice  struct{ x, from, to expr } // from, to may be nil
	call   struct {
		fn   string
		args []expr
	}
	listOf struct{ items []expr }
	// forEach is [item for v < count]
	forEach struct {
		item  expr
		v     string
		slot  int // after fold
		count expr
	}
)

// maxList bounds the lists that an expression may build.
const maxList = 1 << 20

func (e literal) fold(*scope) expr           { return e }
func (e literal) eval(*frame) (value, error) { return e.v, nil }
func (e literal) String() string             { return e.v.String() }

func (e name) fold(s *scope) expr {
	if x, ok := s.local(e.key); ok {
		return x
	}
	v, err := s.env.lookup(e.key)
	if err != nil {
		return failure{err}
	}
	return literal{v}
}
func (e name) eval(*frame) (value, error) { return value{}, fmt.Errorf("%s is not known here", e.key) }
func (e name) String() string             { return e.key }

func (e slot) fold(*scope) expr             { return e }
func (e slot) eval(f *frame) (value, error) { return f.vars[e.n], nil }
func (e slot) String() string               { return e.name }

func (e failure) fold(*scope) expr           { return e }
func (e failure) eval(*frame) (value, error) { return value{}, e.err }
func (e failure) String() string             { return "(" + e.err.Error() + ")" }

// A frame holds the loop variables and the work that is left to do: a hostile
// config or schema must not buy hours with a few bytes.
type frame struct {
	vars []value
	left int64
}

var errTooMuchWork = errors.New("the config or its schema takes too much work to evaluate")

func (f *frame) spend(n int) error {
	if f.left -= int64(n) + 1; f.left < 0 {
		return errTooMuchWork
	}
	return nil
}

// settle computes e if nothing in it is open.
func settle(s *scope, e expr, parts ...expr) expr {
	for _, p := range parts {
		if _, ok := p.(literal); !ok {
			return e
		}
	}
	v, err := e.eval(s.frame)
	if err != nil {
		return failure{err}
	}
	return literal{v}
}

func (e unary) fold(s *scope) expr {
	x := e.x.fold(s)
	return settle(s, unary{e.op, x}, x)
}

func (e unary) eval(f *frame) (value, error) {
	x, err := e.x.eval(f)
	if err != nil {
		return value{}, err
	}
	if e.op == "not" {
		return boolValue(!x.truth()), nil
	}
	if x.kind == kindFloat {
		return floatValue(-x.f), nil
	}
	v, err := arithmetic("-", intValue(0), x)
	return v, explain(err, e)
}

func (e unary) String() string {
	if e.op == "not" {
		return "not " + e.x.String()
	}
	return e.op + e.x.String()
}

func (e binary) fold(s *scope) expr {
	x := e.x.fold(s)
	if l, ok := x.(literal); ok && e.op == "and" && !l.v.truth() || ok && e.op == "or" && l.v.truth() {
		return x
	} else if ok && (e.op == "and" || e.op == "or") {
		return e.y.fold(s)
	}
	y := e.y.fold(s)
	out := settle(s, binary{e.op, x, y}, x, y)
	if f, ok := out.(failure); ok { // name the keys, not their values
		return failure{explain(f.err, e)}
	}
	return out
}

func (e binary) eval(f *frame) (value, error) {
	x, err := e.x.eval(f)
	if err != nil {
		return value{}, err
	}
	switch {
	case e.op == "and" && !x.truth(), e.op == "or" && x.truth():
		return x, nil
	}
	y, err := e.y.eval(f)
	if err == nil {
		err = f.spend(len(y.list))
	}
	if err != nil {
		return value{}, err
	}
	switch e.op {
	case "and", "or":
		return y, nil
	case "in", "not in":
		if x.kind == kindString && y.kind == kindString {
			return boolValue(strings.Contains(y.s, x.s) == (e.op == "in")), nil
		}
		if y.kind != kindList {
			return value{}, fmt.Errorf("%s is no list", y)
		}
		return boolValue(slices.ContainsFunc(y.list, func(v value) bool { return equal(v, x) }) == (e.op == "in")), nil
	case "is":
		return boolValue(equal(x, y) && x.kind == y.kind), nil
	case "is not":
		return boolValue(!equal(x, y) || x.kind != y.kind), nil
	case "==", "!=", "<", "<=", ">", ">=":
		b, err := compare(e.op, x, y)
		return boolValue(b), err
	}
	return arithmetic(e.op, x, y)
}

func (e binary) String() string { return fmt.Sprintf("(%s %s %s)", e.x, e.op, e.y) }

// explain puts the text of the expression before an error, once.
func explain(err error, e expr) error {
	var known *exprError
	if err == nil || errors.As(err, &known) {
		return err
	}
	text := strings.TrimSuffix(strings.TrimPrefix(e.String(), "("), ")")
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	return &exprError{text, err}
}

type exprError struct {
	text string
	err  error
}

func (e *exprError) Error() string { return e.text + ": " + e.err.Error() }
func (e *exprError) Unwrap() error { return e.err }

func (e choice) fold(s *scope) expr {
	cond := e.cond.fold(s)
	if c, ok := cond.(literal); ok {
		if c.v.truth() {
			return e.then.fold(s)
		}
		return e.els.fold(s)
	}
	return choice{e.then.fold(s), cond, e.els.fold(s)}
}

func (e choice) eval(f *frame) (value, error) {
	c, err := e.cond.eval(f)
	if err != nil {
		return value{}, err
	}
	if c.truth() {
		return e.then.eval(f)
	}
	return e.els.eval(f)
}

func (e choice) String() string { return fmt.Sprintf("(%s if %s else %s)", e.then, e.cond, e.els) }

func (e index) fold(s *scope) expr {
	x, i := e.x.fold(s), e.i.fold(s)
	out := settle(s, index{x, i}, x, i)
	if f, ok := out.(failure); ok {
		return failure{explain(f.err, e)}
	}
	return out
}

func (e index) eval(f *frame) (value, error) {
	x, err := e.x.eval(f)
	if err != nil {
		return value{}, err
	}
	i, err := e.i.eval(f)
	if err != nil {
		return value{}, err
	}
	if x.kind != kindList || i.kind != kindInt {
		return value{}, fmt.Errorf("%s[%s]: want a list and a whole number", x, i)
	}
	n := i.i
	if n < 0 {
		n += int64(len(x.list))
	}
	if n < 0 || n >= int64(len(x.list)) {
		return value{}, fmt.Errorf("the list %s has no element %d", x, i.i)
	}
	return x.list[n], nil
}

func (e index) String() string { return fmt.Sprintf("%s[%s]", e.x, e.i) }

func (e slice) fold(s *scope) expr {
	out, parts := slice{x: e.x.fold(s)}, make([]expr, 0, 3)
	parts = append(parts, out.x)
	if e.from != nil {
		out.from = e.from.fold(s)
		parts = append(parts, out.from)
	}
	if e.to != nil {
		out.to = e.to.fold(s)
		parts = append(parts, out.to)
	}
	return settle(s, out, parts...)
}

func (e slice) eval(f *frame) (value, error) {
	x, err := e.x.eval(f)
	if err != nil {
		return value{}, err
	}
	if x.kind != kindList {
		return value{}, fmt.Errorf("%s is no list", x)
	}
	end := func(b expr, def int64) (int64, error) {
		if b == nil {
			return def, nil
		}
		v, err := b.eval(f)
		if err != nil {
			return 0, err
		}
		if v.kind != kindInt {
			return 0, fmt.Errorf("%s: want a whole number", v)
		}
		if v.i < 0 {
			v.i += int64(len(x.list))
		}
		return min(max(v.i, 0), int64(len(x.list))), nil
	}
	from, err := end(e.from, 0)
	if err != nil {
		return value{}, err
	}
	to, err := end(e.to, int64(len(x.list)))
	if err != nil {
		return value{}, err
	}
	return value{kind: kindList, list: x.list[min(from, to):to]}, nil
}

func (e slice) String() string {
	text := func(x expr) string {
		if x == nil {
			return ""
		}
		return x.String()
	}
	return fmt.Sprintf("%s[%s:%s]", e.x, text(e.from), text(e.to))
}

func (e call) fold(s *scope) expr {
	args := make([]expr, len(e.args))
	for i, a := range e.args {
		args[i] = a.fold(s)
	}
	out := settle(s, call{e.fn, args}, args...)
	if f, ok := out.(failure); ok {
		return failure{explain(f.err, e)}
	}
	return out
}

func (e call) eval(f *frame) (value, error) {
	args := make([]value, len(e.args))
	for i, a := range e.args {
		var err error
		if args[i], err = a.eval(f); err != nil {
			return value{}, err
		}
	}
	for _, a := range args {
		if err := f.spend(len(a.list)); err != nil {
			return value{}, err
		}
	}
	return functions[e.fn](args)
}

func (e call) String() string { return e.fn + "(" + join(e.args) + ")" }

func join(items []expr) string {
	text := make([]string, len(items))
	for i, x := range items {
		text[i] = x.String()
	}
	return strings.Join(text, ", ")
}

func (e listOf) fold(s *scope) expr {
	items := make([]expr, len(e.items))
	for i, x := range e.items {
		items[i] = x.fold(s)
	}
	return settle(s, listOf{items}, items...)
}

func (e listOf) eval(f *frame) (value, error) {
	out := value{kind: kindList, list: make([]value, len(e.items))}
	for i, x := range e.items {
		var err error
		if out.list[i], err = x.eval(f); err != nil {
			return value{}, err
		}
	}
	return out, nil
}

func (e listOf) String() string { return "[" + join(e.items) + "]" }

func (e forEach) fold(s *scope) expr {
	count := e.count.fold(s)
	inner := s.loop(e.v)
	out := forEach{e.item.fold(inner), e.v, inner.depth - 1, count}
	if s.depth > 0 { // inside a loop the item may depend on it
		return out
	}
	return settle(s, out, count)
}

func (e forEach) eval(f *frame) (value, error) {
	n, err := e.count.eval(f)
	if err != nil {
		return value{}, err
	}
	if n.kind != kindInt || n.i > maxList {
		return value{}, fmt.Errorf("a list of %s elements: want a whole number up to %d", n, maxList)
	}
	inner := &frame{vars: make([]value, e.slot+1), left: f.left}
	copy(inner.vars, f.vars)
	out := value{kind: kindList, list: make([]value, 0, max(n.i, 0))}
	for i := range n.i {
		inner.vars[e.slot] = intValue(i)
		x, err := e.item.eval(inner)
		if err == nil {
			err = inner.spend(0)
		}
		if err != nil {
			return value{}, err
		}
		out.list = append(out.list, x)
	}
	f.left = inner.left
	return out, nil
}

func (e forEach) String() string { return fmt.Sprintf("[%s for %s < %s]", e.item, e.v, e.count) }

// functions are Python's, of the same names; islist is isinstance(x, list).
var functions = map[string]func([]value) (value, error){
	"int":   one(func(x float64) float64 { return math.Trunc(x) }),
	"ceil":  one(math.Ceil),
	"floor": one(math.Floor),
	"round": one(math.RoundToEven),
	"abs": func(a []value) (value, error) {
		if len(a) == 1 && a[0].kind == kindFloat {
			return floatValue(math.Abs(a[0].f)), nil
		}
		if len(a) == 1 && a[0].kind == kindInt && a[0].i >= 0 {
			return a[0], nil
		}
		if len(a) == 1 {
			return arithmetic("-", intValue(0), a[0])
		}
		return value{}, errors.New("want one number")
	},
	"len": func(a []value) (value, error) {
		switch {
		case len(a) == 1 && a[0].kind == kindList:
			return intValue(int64(len(a[0].list))), nil
		case len(a) == 1 && a[0].kind == kindString:
			return intValue(int64(len(a[0].s))), nil
		}
		return value{}, errors.New("want one list")
	},
	"islist": func(a []value) (value, error) {
		return boolValue(len(a) == 1 && a[0].kind == kindList), nil
	},
	"sum": func(a []value) (value, error) {
		if len(a) != 1 || a[0].kind != kindList {
			return value{}, errors.New("want one list")
		}
		total := intValue(0)
		for _, x := range a[0].list {
			var err error
			if total, err = arithmetic("+", total, x); err != nil {
				return value{}, err
			}
		}
		return total, nil
	},
	"max": extreme(">"),
	"min": extreme("<"),
}

func one(f func(float64) float64) func([]value) (value, error) {
	return func(a []value) (value, error) {
		if len(a) != 1 {
			return value{}, errors.New("want one number")
		}
		switch a[0].kind {
		case kindInt:
			return a[0], nil
		case kindBool:
			return intValue(a[0].i), nil
		case kindFloat:
			return whole(f(a[0].f))
		}
		return value{}, fmt.Errorf("%s is no number", a[0])
	}
}

func extreme(op string) func([]value) (value, error) {
	return func(a []value) (value, error) {
		if len(a) == 1 && a[0].kind == kindList {
			a = a[0].list
		}
		if len(a) == 0 {
			return value{}, errors.New("want at least one number")
		}
		best := a[0]
		for _, x := range a[1:] {
			better, err := compare(op, x, best)
			if err != nil {
				return value{}, err
			}
			if better {
				best = x
			}
		}
		return best, nil
	}
}
