package hfconfig

import "fmt"

// Expressions that read or make lists.

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
	if x.kind == kindString {
		letters := []rune(x.s)
		if err := f.spend(len(letters)); err != nil {
			return value{}, err
		}
		x = value{kind: kindList, list: make([]value, len(letters))}
		for i, r := range letters {
			x.list[i] = stringValue(string(r))
		}
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
