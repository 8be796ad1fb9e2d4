package hfconfig

import (
	"errors"
	"fmt"
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
		if err := f.spend(len(a.list) + len(a.s) + len(a.object)); err != nil {
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
