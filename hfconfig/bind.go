package hfconfig

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// bind computes the plan of a class for a config that may lead to as many tensors
// as limit says, and is quantized by q or, if that is nil, not at all.
func bind(e *env, c *class, limit int, q *quantization) (*plan, error) {
	b := &binder{plan: &plan{}}
	if q != nil {
		b.plan.quant = &quantized{quantization: q}
	}
	s := &scope{env: e, frame: e.frame}
	if err := b.body(c.body, place{scope: s, layouts: allLayouts, model: e.model}, &b.plan.nodes); err != nil {
		return nil, err
	}
	if err := b.plan.measure(e.frame, limit); err != nil {
		return nil, err
	}
	return b.plan, nil
}

type binder struct {
	plan  *plan
	nodes int
}

// A place is where statements are put: names so far, scope, layouts.
type place struct {
	*scope
	model    *model // whose blocks are meant by a name alone
	prefix   [layoutCount][]part
	original []part // native prefix of what all rows are copies of, if they are
	layouts  layoutSet
	optional bool
	frozen   bool
	plain    bool // all layouts are as Native
	part     bool // of a class that another one makes itself: hub names are those of Save
	uses     int
}

func (b *binder) body(body []stmt, at place, out *[]node) error {
	for i, s := range body {
		if b.nodes++; b.nodes > maxPlan {
			return errTooMuchWork
		}
		if l, ok := s.(letStmt); ok {
			x := l.x.fold(at.scope)
			if _, open := x.(literal); !open {
				n := node{let: x, slot: at.depth}
				at.scope = at.loop(l.v)
				b.plan.slots = max(b.plan.slots, at.depth)
				if err := b.body(body[i+1:], at, &n.body); err != nil {
					return err
				}
				*out = append(*out, n.marked())
				return nil
			}
			at.scope = at.let(l.v, x)
			continue
		}
		if err := b.stmt(s, at, out); err != nil {
			return err
		}
	}
	return nil
}

func (b *binder) stmt(s stmt, at place, out *[]node) error {
	switch s := s.(type) {
	case rowStmt:
		return b.under(s.cond, at, out, func(out *[]node) error {
			for _, p := range s.paths {
				r := newRow(&s, p, at)
				*out = append(*out, node{row: r})
				if at.original != nil && at.layouts.has(Native) {
					*out = append(*out, copies(r, at.joined(at.original, p.in(Native)))...)
				}
			}
			return nil
		})
	case groupStmt:
		at.prefix = at.extend(s.path)
		if at.original != nil {
			at.original = at.joined(at.original, s.path.in(Native))
		}
		return b.body(s.body, at, out)
	case loopStmt:
		return b.loop(s, at, out)
	case ifStmt:
		if err := b.under(s.cond, at, out, func(out *[]node) error { return b.body(s.body, at, out) }); err != nil {
			return err
		}
		if s.els == nil {
			return nil
		}
		return b.under(unary{"not", s.cond}, at, out, func(out *[]node) error { return b.body(s.els, at, out) })
	case layoutStmt:
		at.layouts &= at.seen(s.layouts)
		return b.body(s.body, at, out)
	case optionalStmt:
		at.optional = true
		return b.body(s.body, at, out)
	case frozenStmt:
		at.frozen = true
		return b.body(s.body, at, out)
	case plainStmt:
		at.plain = true
		return b.body(s.body, at, out)
	case tieStmt:
		if s.body != nil {
			return b.tied(s, at, out)
		}
		return b.under(s.cond, at, out, func(out *[]node) error {
			target, source := at.extend(s.target), at.extend(s.source)
			*out = append(*out, node{tie: &tieNode{target[Native], source[Native]}, ties: true})
			return nil
		})
	case useStmt:
		return b.use(s, at, out)
	}
	return fmt.Errorf("hfconfig: statement %T", s)
}

// tied puts a module of which, if the condition holds, all tensors are those of another.
func (b *binder) tied(s tieStmt, at place, out *[]node) error {
	original := at.extend(s.source)[Native]
	at.prefix = at.extend(s.target)
	if s.cond != nil {
		cond, ok := s.cond.fold(at.scope).(literal)
		if !ok {
			return fmt.Errorf("hfconfig: the condition %s of a tied module is open", s.cond)
		}
		if !cond.v.truth() {
			original = nil
		}
	}
	at.original = original
	return b.body(s.body, at, out)
}

// under puts statements under a condition; cond nil means none.
func (b *binder) under(cond expr, at place, out *[]node, put func(*[]node) error) error {
	if cond == nil {
		return put(out)
	}
	switch x := cond.fold(at.scope).(type) {
	case literal:
		if !x.v.truth() {
			return nil
		}
		return put(out)
	default:
		n := node{cond: x}
		if err := put(&n.body); err != nil {
			return err
		}
		*out = append(*out, n.marked())
		return nil
	}
}

func (b *binder) loop(s loopStmt, at place, out *[]node) error {
	l := &loopNode{slot: at.depth}
	bound := s.to
	if s.in != nil {
		bound = s.in
		l.in = s.in.fold(at.scope)
	} else {
		l.to = s.to.fold(at.scope)
		l.from = literal{intValue(0)}
		if s.from != nil {
			l.from = s.from.fold(at.scope)
		}
	}
	l.text = bound.String()
	if n, ok := bound.(name); ok {
		l.key = at.env.path + n.key
	}
	at.scope = at.scope.loop(s.v)
	b.plan.slots = max(b.plan.slots, at.depth)
	if err := b.body(s.body, at, &l.body); err != nil {
		return err
	}
	*out = append(*out, node{loop: l, ties: anyTies(l.body)})
	return nil
}

func (b *binder) use(s useStmt, at place, out *[]node) error {
	if at.uses++; at.uses > maxUses {
		return fmt.Errorf("hfconfig: the schema of %s uses blocks within blocks more than %d deep, or in a circle", at.model.name, maxUses)
	}
	inner := at
	e := at.env
	if s.with != "" {
		var err error
		if e, err = e.subPath(s.with); err != nil {
			return err
		}
		if e == nil {
			return &ConfigError{at.env.path + s.with, "null, but the model needs it"}
		}
		if err := e.check(); err != nil {
			return err
		}
	}
	inner.scope = &scope{env: e, frame: at.frame, depth: at.depth}
	if s.role != "" {
		c := e.model.role(s.role)
		if c == nil {
			return &UnknownError{e.model.name, "its schema has no class with the role " + s.role}
		}
		inner.model, inner.part = e.model, at.part || s.with != "" && !e.auto
		return b.body(c.body, inner, out)
	}
	inner.model = at.model
	if s.model != "" {
		var err error
		if inner.model, err = e.reg.model(s.model); err != nil {
			return err
		}
		if s.with != "" && e.auto && e.model != inner.model && e.model.name != e.usual { // its keys are not those that the block means
			return &UnknownError{at.env.model.name, fmt.Sprintf("%s of type %s is known, not of type %s", s.with, inner.model.name, e.model.name)}
		}
	}
	blk := inner.model.blocks[s.block]
	if blk == nil {
		return fmt.Errorf("hfconfig: the schema of %s has no block %s", inner.model.name, s.block)
	}
	if len(s.args) != len(blk.params) {
		return fmt.Errorf("hfconfig: block %s.%s takes %d arguments, not %d", inner.model.name, s.block, len(blk.params), len(s.args))
	}
	for i, a := range s.args {
		x := a.fold(at.scope)
		if _, ok := x.(literal); !ok && at.depth == 0 {
			if _, ok := x.(failure); !ok {
				return fmt.Errorf("hfconfig: block %s.%s: argument %s is open", inner.model.name, s.block, a)
			}
		}
		inner.scope = inner.let(blk.params[i], x)
	}
	return b.body(blk.body, inner, out)
}

// subPath returns the sub-config under a dotted path.
func (e *env) subPath(dotted string) (*env, error) {
	for _, k := range strings.Split(dotted, ".") {
		var err error
		if e, err = e.sub(k); err != nil || e == nil {
			return nil, err
		}
	}
	return e, nil
}

// seen returns the layouts that statements under the given ones belong to.
func (at *place) seen(layouts layoutSet) layoutSet {
	if at.plain {
		if !layouts.has(Native) {
			return 0
		}
		return allLayouts
	}
	if !at.part {
		return layouts
	}
	layouts &^= 1 << Hub
	if layouts.has(Save) {
		layouts |= 1 << Hub
	}
	return layouts
}

// extend returns the names so far with p behind them.
func (at *place) extend(p path) [layoutCount][]part {
	var out [layoutCount][]part
	for l := range Layout(layoutCount) {
		from := l
		switch {
		case at.plain:
			from = Native
		case l == Hub && at.part:
			from = Save
		}
		out[l] = at.joined(at.prefix[l], p.in(from))
	}
	return out
}

// joined returns a name with the segments of a path behind it.
func (at *place) joined(names []part, segments []segment) []part {
	parts := slices.Clone(names)
	if len(names) > 0 && len(segments) > 0 {
		parts = withText(parts, ".")
	}
	for _, s := range segments {
		if s.x == nil {
			parts = withText(parts, s.text)
			continue
		}
		x := s.x.fold(at.scope)
		if v, ok := x.(literal); ok && v.v.kind == kindInt {
			parts = withText(parts, strconv.FormatInt(v.v.i, 10))
		} else {
			parts = append(parts, part{x: x})
		}
	}
	return parts
}

// withText returns a name with text behind it. It may change parts.
func withText(parts []part, text string) []part {
	if n := len(parts); n > 0 && parts[n-1].x == nil {
		parts[n-1].text += text
		return parts
	}
	return append(parts, part{text: text})
}

// copies returns the ties of a row's tensors to those of the same module elsewhere.
func copies(r *row, original []part) []node {
	tie := func(suffix string) node {
		return node{tie: &tieNode{withText(slices.Clone(r.names[Native]), suffix), withText(slices.Clone(original), suffix)}, ties: true}
	}
	var out []node
	for _, suffix := range kinds[r.kind].suffixes {
		out = append(out, tie(suffix))
	}
	if r.kind == BatchNorm && !r.frozen {
		out = append(out, tie(".num_batches_tracked"))
	}
	if r.bias != nil {
		out = append(out, node{cond: r.bias, body: []node{tie(".bias")}, ties: true})
	}
	return out
}
