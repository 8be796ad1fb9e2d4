package hfconfig

import (
	"errors"
	"fmt"
	"slices"
)

// Limits on what one config may ask for.
const (
	defaultMaxTensors = 250_000 // Qwen3-Next-80B, expert by expert, has 74,000
	maxTensors        = 2_000_000
	maxWork           = 20_000_000 // steps; see frame
	maxPlan           = 1 << 18    // statements after all blocks are put in place
	maxUses           = 24         // blocks within blocks
	maxDim            = 1 << 40
)

// A plan is a class bound to a config: its statements with everything computed
// that the config decides. What is left are loops, and what depends on their
// variables.
type plan struct {
	nodes    []node
	slots    int
	ties     map[string]string // native names: dropped -> kept
	tieSize  [256]bool         // lengths of the dropped names, modulo 256
	distinct [layoutCount]bool // differs from Save
	count    int               // tensors in layout Save
	elements uint64
	quant    *quantized // nil: weights are stored as they are
}

// A node is one of: a row, a tie, a loop, a variable, or statements under a
// condition.
type node struct {
	row  *row
	tie  *tieNode
	loop *loopNode
	cond expr // with body
	let  expr // with slot and body
	slot int
	body []node
	ties bool // a tie stands in it
}

type loopNode struct {
	from, to, in expr
	text         string // of the bound, for messages
	key          string // the config key if it is one
	slot         int
	body         []node
}

type tieNode struct{ target, source []part }

// A part of a name is text or a number.
type part struct {
	text string
	x    expr
}

// A row is a module, or a tensor of its own, at one place in the code.
type row struct {
	kind     Kind
	layouts  layoutSet
	optional bool
	frozen   bool      // a batch norm that does not count its batches
	native   layoutSet // layouts in which the name is that of Native
	saved    layoutSet // layouts in which the name is that of Save
	names    [layoutCount][]part
	dims     []expr
	shape    []uint64 // if it is the same for all turns of the loops
	bias     expr     // nil: none
	biasSize []uint64
	source   *rowStmt
	env      *env
}

func newRow(s *rowStmt, p path, at place) *row {
	r := &row{kind: s.kind, layouts: at.layouts, optional: at.optional, frozen: at.frozen, source: s, env: at.env, names: at.extend(p)}
	for l := range Layout(layoutCount) {
		if slices.EqualFunc(r.names[l], r.names[Native], samePart) {
			r.native |= 1 << l
		}
		if slices.EqualFunc(r.names[l], r.names[Save], samePart) {
			r.saved |= 1 << l
		}
	}
	constant := true
	for _, d := range s.dims {
		x := d.fold(at.scope)
		r.dims = append(r.dims, x)
		if v, ok := x.(literal); !ok || dimension(v.v) != nil {
			constant = false
		}
	}
	if constant {
		r.shape = make([]uint64, len(r.dims))
		for i, x := range r.dims {
			r.shape[i] = uint64(x.(literal).v.i)
		}
		r.biasSize = r.biasShape(r.shape)
	}
	if s.bias != nil {
		r.bias = s.bias.fold(at.scope)
		if v, ok := r.bias.(literal); ok && !v.v.truth() {
			r.bias = nil
		}
	}
	return r
}

func samePart(a, b part) bool {
	if a.x == nil || b.x == nil {
		return a.x == nil && b.x == nil && a.text == b.text
	}
	return a.x.String() == b.x.String()
}

func (r *row) biasShape(shape []uint64) []uint64 {
	if d := kinds[r.kind].bias; d != none {
		return shape[d : d+1 : d+1]
	}
	return nil
}

func dimension(v value) error {
	if v.kind != kindInt {
		return fmt.Errorf("want a whole number, found %s", v)
	}
	if v.i < 0 || v.i > maxDim {
		return fmt.Errorf("%d is no size", v.i)
	}
	return nil
}

// size computes the shapes of weight and bias; bias is nil if there is none.
func (r *row) size(f *frame) (shape, bias []uint64, err error) {
	if shape = r.shape; shape == nil {
		shape = make([]uint64, len(r.dims))
		for i, x := range r.dims {
			v, err := x.eval(f)
			if err != nil {
				return nil, nil, err
			}
			if err := dimension(v); err != nil {
				if n, ok := r.source.dims[i].(name); ok {
					return nil, nil, &ConfigError{r.env.path + n.key, err.Error()}
				}
				return nil, nil, explain(err, r.source.dims[i])
			}
			shape[i] = uint64(v.i)
		}
	}
	if r.bias != nil {
		v, err := r.bias.eval(f)
		if err != nil {
			return nil, nil, err
		}
		if v.truth() {
			if bias = r.biasSize; bias == nil {
				bias = r.biasShape(shape)
			}
		}
	}
	return shape, bias, nil
}

func (n node) marked() node {
	n.ties = anyTies(n.body)
	return n
}

func anyTies(nodes []node) bool {
	return slices.ContainsFunc(nodes, func(n node) bool { return n.ties })
}

// errStop ends a walk early.
var errStop = errors.New("stop")

// walk calls visit for every row and tie that is there. It stops at the first
// error; once measure has succeeded there is none but visit's.
func walk(nodes []node, f *frame, onlyTies bool, visit func(n *node) error) error {
	for i := range nodes {
		n := &nodes[i]
		if onlyTies && !n.ties {
			continue
		}
		var err error
		switch {
		case n.row != nil, n.tie != nil:
			err = visit(n)
		case n.loop != nil:
			err = n.loop.walk(f, onlyTies, visit)
		case n.let != nil:
			if f.vars[n.slot], err = n.let.eval(f); err == nil {
				err = walk(n.body, f, onlyTies, visit)
			}
		default:
			var v value
			if v, err = n.cond.eval(f); err == nil && v.truth() {
				err = walk(n.body, f, onlyTies, visit)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *loopNode) walk(f *frame, onlyTies bool, visit func(n *node) error) error {
	turn := func(v value) error {
		if err := f.spend(len(l.body)); err != nil {
			return err
		}
		f.vars[l.slot] = v
		return walk(l.body, f, onlyTies, visit)
	}
	if l.in != nil {
		v, err := l.in.eval(f)
		if err != nil {
			return err
		}
		if v.kind != kindList {
			return l.bad(v, "want a list")
		}
		for _, x := range v.list {
			if err := turn(x); err != nil {
				return err
			}
		}
		return nil
	}
	from, err := l.from.eval(f)
	if err != nil {
		return err
	}
	to, err := l.to.eval(f)
	if err != nil {
		return err
	}
	switch {
	case to.kind != kindInt:
		return l.bad(to, "want a whole number")
	case from.kind != kindInt:
		return l.bad(from, "want a whole number")
	case to.i < 0 && l.key != "":
		return l.bad(to, "want no negative number")
	case to.i > maxTensors:
		return l.bad(to, fmt.Sprintf("no model has more than %d", maxTensors))
	}
	for i := from.i; i < to.i; i++ {
		if err := turn(intValue(i)); err != nil {
			return err
		}
	}
	return nil
}

func (l *loopNode) bad(v value, want string) error {
	if l.key != "" {
		return &ConfigError{l.key, fmt.Sprintf("%s; found %s", want, v)}
	}
	return &ConfigError{"", fmt.Sprintf("%s = %s: %s", l.text, v, want)}
}
