package hfconfig

import (
	"strings"
)

// body reads the statements that are indented more than indent.
func (p *archParser) body(indent, depth int, allow *tolerate) []stmt {
	var out []stmt
	at := -1
	for p.below(indent) {
		c := p.cursor()
		c.depth = depth
		c.deeper()
		if at < 0 {
			at = p.lines[0].indent
		} else if p.lines[0].indent != at {
			c.fail(c.pos, "the line is indented by %d, its neighbours by %d", p.lines[0].indent, at)
		}
		if c.take("by") {
			p.byHand(c)
			out = append(out, p.body(at, depth+1, allow)...)
			continue
		}
		if allow != nil && c.take("allow") {
			allow.add(c)
			p.next()
			continue
		}
		if c.take("else") {
			last, ok := stmt(nil), false
			if len(out) > 0 {
				last = out[len(out)-1]
			}
			cond, ok := last.(ifStmt)
			if !ok || cond.els != nil {
				c.fail(c.pos, "else follows no if")
			}
			c.want(":")
			cond.els = p.rest(c, at, depth+1)
			out[len(out)-1] = cond
			continue
		}
		out = append(out, p.statement(c, at, depth))
	}
	return out
}

// rest reads what a header applies to: the rest of its line, or if there is
// none, the lines below it.
func (p *archParser) rest(c *cursor, indent, depth int) []stmt {
	c.depth = depth
	c.deeper()
	if c.end() {
		l := p.next()
		if !p.below(indent) {
			c.fail(len(l.text), "nothing stands below this line")
		}
		return p.body(indent, depth, nil)
	}
	return []stmt{p.statement(c, indent, depth)}
}

func (p *archParser) statement(c *cursor, indent, depth int) stmt {
	number := c.line
	switch {
	case c.take("for"):
		l := loopStmt{line: number}
		x := c.sum()
		if c.take("<=") {
			l.from = x
			l.v = c.variable()
			c.want("<")
			l.to = c.sum()
		} else {
			v, ok := x.(name)
			if !ok || strings.Contains(v.key, ".") {
				c.fail(c.pos, "want a variable after for")
			}
			l.v = v.key
			if c.take("in") {
				l.in = c.expr()
			} else {
				c.want("<")
				l.to = c.expr()
			}
		}
		c.want(":")
		l.body = p.rest(c, indent, depth+1)
		return l
	case c.take("if"):
		s := ifStmt{cond: c.expr()}
		c.want(":")
		s.body = p.rest(c, indent, depth+1)
		return s
	case c.take("optional"):
		c.want(":")
		return optionalStmt{p.rest(c, indent, depth+1)}
	case c.take("frozen"):
		c.want(":")
		return frozenStmt{p.rest(c, indent, depth+1)}
	case c.take("plain"):
		c.want(":")
		return plainStmt{p.rest(c, indent, depth+1)}
	case c.take("layout"):
		var s layoutStmt
		for !c.take(":") {
			s.layouts |= 1 << c.layout()
		}
		if s.layouts == 0 {
			c.fail(c.pos, "want a layout: native, save or hub")
		}
		s.body = p.rest(c, indent, depth+1)
		return s
	case c.take("let"):
		s := letStmt{v: c.variable()}
		c.want("=")
		s.x = c.expr()
		c.finish()
		p.next()
		return s
	case c.take("use"):
		s := c.use()
		p.next()
		return s
	case c.take("tie"):
		s := tieStmt{target: c.path()}
		c.want("=")
		s.source = c.path()
		if c.take("if") {
			s.cond = c.expr()
		}
		if c.take(":") {
			s.body = p.rest(c, indent, depth+1)
			return s
		}
		c.finish()
		p.next()
		return s
	}
	first := c.path()
	if c.take(":") {
		return groupStmt{first, p.rest(c, indent, depth+1)}
	}
	s := c.row(first)
	p.next()
	return s
}

func (c *cursor) layout() Layout {
	c.skip()
	at := c.pos
	l, ok := ParseLayout(c.word("a layout: native, save or hub"))
	if !ok {
		c.fail(at, "want a layout: native, save or hub")
	}
	return l
}

// row reads "path {, path} kind [dims] [bias[(cond)]] [if cond]".
func (c *cursor) row(first path) stmt {
	r := rowStmt{paths: []path{first}, line: c.line}
	for c.take(",") {
		r.paths = append(r.paths, c.path())
	}
	c.skip()
	at := c.pos
	var ok bool
	if r.kind, ok = parseKind(c.word("a kind such as linear or param, or a colon")); !ok {
		c.fail(at, "want a kind (linear, conv1d, conv, convt, embedding, norm, batchnorm, param, buffer), found %q", c.text[at:c.pos])
	}
	c.want("[")
	r.dims = c.args("]")
	k := &kinds[r.kind]
	if n := len(r.dims); n < k.least || n > k.most {
		c.fail(at, "a %s has %d to %d dimensions, not %d", k.name, k.least, k.most, n)
	}
	if c.take("bias") {
		if k.bias == none {
			c.fail(c.pos, "a %s takes no bias here; write it as a row of its own", k.name)
		}
		r.bias = literal{boolValue(true)}
		if c.take("(") {
			r.bias = c.expr()
			c.want(")")
		}
	}
	if c.take("if") {
		r.cond = c.expr()
	}
	c.finish()
	return r
}

// use reads "[TYPE.]BLOCK[(args)]" or "@ROLE", and "[with CONFIG]".
func (c *cursor) use() stmt {
	s := useStmt{line: c.line}
	if c.take("@") {
		s.role = c.word("a role")
	} else {
		start := c.pos
		s.block = c.typeName()
		if dot := strings.LastIndexByte(s.block, '.'); dot >= 0 { // a model type may hold dots, a block does not
			c.pos = start + strings.LastIndexByte(c.text[start:c.pos], '.') + 1
			s.model, s.block = s.block[:dot], c.variable()
		}
		if c.take("(") {
			s.args = c.args(")")
		}
	}
	if c.take("with") {
		s.with = c.key()
	}
	c.finish()
	return s
}

// path reads "name [| layout name]...". A lone dot is the empty name.
func (c *cursor) path() path {
	var p path
	p[Native] = c.segments()
	for c.take("|") {
		at := c.pos
		l := c.layout()
		if p[l] != nil {
			c.fail(at, "the name in layout %s stands here twice", l)
		}
		p[l] = c.segments()
	}
	return p
}

// segments reads one name: text with numbers in braces. It is never nil.
func (c *cursor) segments() []segment {
	c.skip()
	out := []segment{}
	start := c.pos
	text := func(end int) {
		if end > start {
			out = append(out, segment{text: c.text[start:end]})
		}
	}
	if c.peek() == '"' {
		if s := c.quoted(); s != "" {
			out = append(out, segment{text: s})
		}
		return out
	}
	begin := start
	for c.pos < len(c.text) {
		b := c.text[c.pos]
		if b == '{' {
			text(c.pos)
			c.pos++
			out = append(out, segment{x: c.expr()})
			c.want("}")
			start = c.pos
			continue
		}
		if !isWord(b) && b != '.' && b != '-' {
			break
		}
		c.pos++
	}
	text(c.pos)
	if c.pos == begin {
		c.fail(begin, "want the name of a module or tensor, found %s", c.found())
	}
	if len(out) == 1 && out[0].text == "." {
		return []segment{}
	}
	return out
}
