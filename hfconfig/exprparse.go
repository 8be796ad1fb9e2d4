package hfconfig

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A SchemaError says where the text of a schema is wrong.
type SchemaError struct {
	Line, Column int // from 1; the column counts bytes
	Message      string
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// maxNesting bounds how deep expressions and blocks nest.
const maxNesting = 60

// A cursor reads one line of a schema. Errors are panics of *SchemaError, which
// ParseArch turns into its error: every reader below would else have three lines
// of plumbing per token.
type cursor struct {
	text  string
	pos   int
	line  int
	depth int
	lists bool // comprehensions are allowed: only where a value is computed once
}

func (c *cursor) fail(at int, format string, args ...any) {
	panic(&SchemaError{c.line, at + 1, fmt.Sprintf(format, args...)})
}

func (c *cursor) skip() {
	for c.pos < len(c.text) && c.text[c.pos] == ' ' {
		c.pos++
	}
}

// end reports whether the line is used up.
func (c *cursor) end() bool {
	c.skip()
	return c.pos == len(c.text)
}

// found says what stands at the cursor, for messages.
func (c *cursor) found() string {
	if c.end() {
		return "the end of the line"
	}
	rest := c.text[c.pos:]
	if i := strings.IndexByte(rest, ' '); i > 0 {
		rest = rest[:i]
	}
	return strconv.Quote(rest[:min(len(rest), 40)])
}

// take consumes s if it stands next. A word must end there.
func (c *cursor) take(s string) bool {
	c.skip()
	rest := c.text[c.pos:]
	if !strings.HasPrefix(rest, s) || isWord(s[len(s)-1]) && len(rest) > len(s) && isWord(rest[len(s)]) {
		return false
	}
	c.pos += len(s)
	return true
}

func (c *cursor) want(s string) {
	if !c.take(s) {
		c.fail(c.pos, "want %q, found %s", s, c.found())
	}
}

func isWord(b byte) bool {
	return b == '_' || '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}

// word reads a name: letters, digits and _, not starting with a digit.
func (c *cursor) word(what string) string {
	c.skip()
	start := c.pos
	for c.pos < len(c.text) && isWord(c.text[c.pos]) {
		c.pos++
	}
	w := c.text[start:c.pos]
	if w == "" || w[0] <= '9' {
		c.pos = start
		c.fail(start, "want %s, found %s", what, c.found())
	}
	return w
}

// key reads a config key, dotted if it stands in a sub-config.
func (c *cursor) key() string {
	k := c.word("a config key")
	for c.pos+1 < len(c.text) && c.text[c.pos] == '.' && isWord(c.text[c.pos+1]) {
		c.pos++
		k += "." + c.word("a config key")
	}
	return k
}

func (c *cursor) quoted() string {
	c.skip()
	q, err := strconv.QuotedPrefix(c.text[c.pos:])
	if err != nil || q[0] != '"' {
		c.fail(c.pos, "want a string in double quotes, found %s", c.found())
	}
	s, err := strconv.Unquote(q)
	if err != nil {
		c.fail(c.pos, "%v", err)
	}
	c.pos += len(q)
	return s
}

// expr reads an expression: or-expression [ if or-expression else expression ].
func (c *cursor) expr() expr {
	c.deeper()
	defer func() { c.depth-- }()
	x := c.or()
	mark := c.pos
	if c.take("if") {
		cond := c.or()
		if !c.take("else") { // the if belongs to the row
			c.pos = mark
			return x
		}
		return choice{x, cond, c.expr()}
	}
	return x
}

func (c *cursor) deeper() {
	if c.depth++; c.depth > maxNesting {
		c.fail(c.pos, "nested more than %d deep", maxNesting)
	}
}

func (c *cursor) or() expr {
	x := c.and()
	for c.take("or") {
		x = binary{"or", x, c.and()}
	}
	return x
}

func (c *cursor) and() expr {
	x := c.not()
	for c.take("and") {
		x = binary{"and", x, c.not()}
	}
	return x
}

func (c *cursor) not() expr {
	if c.take("not") {
		c.deeper()
		defer func() { c.depth-- }()
		return unary{"not", c.not()}
	}
	return c.comparison()
}

func (c *cursor) comparison() expr {
	x := c.sum()
	for _, op := range [...]string{"==", "!=", "<=", ">=", "<", ">"} {
		if c.take(op) {
			return binary{op, x, c.sum()}
		}
	}
	mark := c.pos
	switch {
	case c.take("is"):
		op := "is"
		if c.take("not") {
			op = "is not"
		}
		c.skip()
		at := c.pos
		lit, ok := c.sum().(literal)
		if !ok || lit.v.kind != kindNull && lit.v.kind != kindBool {
			c.fail(at, "after %q want null, true or false", op)
		}
		return binary{op, x, lit}
	case c.take("in"):
		return binary{"in", x, c.sum()}
	case c.take("not"):
		if c.take("in") {
			return binary{"not in", x, c.sum()}
		}
		c.pos = mark
	}
	return x
}

func (c *cursor) sum() expr {
	x := c.term()
	for {
		switch {
		case c.take("+"):
			x = binary{"+", x, c.term()}
		case c.take("-"):
			x = binary{"-", x, c.term()}
		default:
			return x
		}
	}
}

func (c *cursor) term() expr {
	x := c.factor()
	for {
		switch {
		case c.take("//"):
			x = binary{"//", x, c.factor()}
		case c.take("/"):
			x = binary{"/", x, c.factor()}
		case c.take("%"):
			x = binary{"%", x, c.factor()}
		case c.take("*"):
			x = binary{"*", x, c.factor()}
		default:
			return x
		}
	}
}

func (c *cursor) factor() expr {
	c.deeper()
	defer func() { c.depth-- }()
	if c.take("-") {
		return minus(c.factor())
	}
	x := c.atom()
	if c.take("**") {
		return binary{"**", x, c.factor()}
	}
	return x
}

func minus(x expr) expr {
	if l, ok := x.(literal); ok {
		switch l.v.kind {
		case kindInt:
			return literal{intValue(-l.v.i)}
		case kindFloat:
			return literal{floatValue(-l.v.f)}
		}
	}
	return unary{"-", x}
}

func (c *cursor) atom() expr {
	c.skip()
	at := c.pos
	var x expr
	switch b := c.peek(); {
	case b == '(':
		c.want("(")
		x = c.expr()
		c.want(")")
	case b == '[':
		x = c.list()
	case b == '"':
		x = literal{stringValue(c.quoted())}
	case '0' <= b && b <= '9':
		x = c.number()
	default:
		k := c.key()
		switch k {
		case "null":
			x = literal{}
		case "true", "false":
			x = literal{boolValue(k == "true")}
		case "and", "or", "not", "if", "else", "in", "is", "for":
			c.fail(at, "want a value, found the word %q", k)
		default:
			x = name{k}
			if c.take("(") {
				if functions[k] == nil {
					c.fail(at, "there is no function %s", k)
				}
				x = call{k, c.args(")")}
			}
		}
	}
	for c.peek() == '[' {
		c.want("[")
		x = c.subscript(x)
	}
	return x
}

func (c *cursor) peek() byte {
	if c.pos == len(c.text) {
		return 0
	}
	return c.text[c.pos]
}

// args reads expressions up to the closing bracket.
func (c *cursor) args(closing string) []expr {
	var out []expr
	for !c.take(closing) {
		if len(out) > 0 {
			c.want(",")
		}
		out = append(out, c.expr())
	}
	return out
}

// list reads [a, b] or [item for i < count].
func (c *cursor) list() expr {
	c.want("[")
	if c.take("]") {
		return listOf{}
	}
	first := c.expr()
	at := c.pos
	if c.take("for") {
		if !c.lists {
			c.fail(at, "a list is computed in the config section only, and not inside another")
		}
		c.lists = false
		v := c.word("a variable")
		c.want("<")
		e := forEach{item: first, v: v, count: c.expr()}
		c.lists = true
		c.want("]")
		return e
	}
	items := []expr{first}
	if !c.take("]") {
		c.want(",")
		items = append(items, c.args("]")...)
	}
	return listOf{items}
}

func (c *cursor) subscript(x expr) expr {
	var from, to expr
	if !c.take(":") {
		from = c.expr()
		if c.take("]") {
			return index{x, from}
		}
		c.want(":")
	}
	if !c.take("]") {
		to = c.expr()
		c.want("]")
	}
	return slice{x, from, to}
}

func (c *cursor) number() expr {
	start := c.pos
	for c.pos < len(c.text) && (isWord(c.text[c.pos]) || c.text[c.pos] == '.' ||
		(c.text[c.pos] == '-' || c.text[c.pos] == '+') && (c.text[c.pos-1] == 'e' || c.text[c.pos-1] == 'E')) {
		c.pos++
	}
	text := c.text[start:c.pos]
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return literal{intValue(i)}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || strings.ContainsAny(text, "xXpP_") {
		c.fail(start, "%q is no number", text)
	}
	return literal{floatValue(f)}
}

var reserved = []string{"and", "or", "not", "if", "else", "in", "is", "for", "null", "true", "false"}

// variable reads the name of a loop variable, parameter or let.
func (c *cursor) variable() string {
	c.skip()
	at := c.pos
	w := c.word("a name")
	if slices.Contains(reserved, w) || functions[w] != nil {
		c.fail(at, "%q has a meaning of its own", w)
	}
	return w
}
