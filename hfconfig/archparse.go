package hfconfig

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/internal/pyjson"
)

// Limits on the text of one schema file.
const (
	maxSchemaBytes = 4 << 20
	maxLineBytes   = 16 << 10
)

// ParseArch parses the text of one schema file; arch/README.md describes the
// format. The error of a text that is wrong is a *SchemaError with line and
// column. References to blocks of other files are resolved when they are used.
func ParseArch(text []byte) (a *Arch, err error) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*SchemaError)
			if !ok {
				panic(r)
			}
			a, err = nil, e
		}
	}()
	if len(text) > maxSchemaBytes {
		return nil, fmt.Errorf("hfconfig: a schema of %d bytes, more than the limit of %d", len(text), maxSchemaBytes)
	}
	p := &archParser{arch: &Arch{}, lines: splitLines(string(text))}
	p.file()
	return p.arch, nil
}

// A line is one line of a schema without comment and indentation.
type line struct {
	text   string // the indentation is blanked, so that columns stay true
	indent int
	number int
}

func splitLines(text string) []line {
	var out []line
	number := 0
	for raw := range strings.Lines(text) {
		number++
		raw = strings.TrimRight(raw, "\r\n")
		if len(raw) > maxLineBytes {
			panic(&SchemaError{number, maxLineBytes, "the line is too long"})
		}
		raw = strings.TrimRight(stripComment(raw), " ")
		body := strings.TrimLeft(raw, " ")
		if body == "" {
			continue
		}
		indent := len(raw) - len(body)
		if i := strings.IndexFunc(raw, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }); i >= 0 {
			panic(&SchemaError{number, i + 1, "tabs and control characters have no place here; indent with blanks"})
		}
		out = append(out, line{raw, indent, number})
	}
	return out
}

func stripComment(s string) string {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '#' && !quoted:
			return s[:i]
		}
	}
	return s
}

type archParser struct {
	arch  *Arch
	lines []line
	model *model
}

// cursor starts reading the next line.
func (p *archParser) cursor() *cursor {
	l := p.lines[0]
	return &cursor{text: l.text, pos: l.indent, line: l.number}
}

func (p *archParser) next() line {
	l := p.lines[0]
	p.lines = p.lines[1:]
	return l
}

// below reports whether the next line is indented more than indent.
func (p *archParser) below(indent int) bool {
	return len(p.lines) > 0 && p.lines[0].indent > indent
}

func (c *cursor) finish() {
	if !c.end() {
		c.fail(c.pos, "want the end of the line, found %s", c.found())
	}
}

func (p *archParser) file() {
	for len(p.lines) > 0 {
		c := p.cursor()
		if p.lines[0].indent != 0 {
			c.fail(c.pos, "a section must not be indented")
		}
		if c.take("generated") { // who wrote the file; for the generator only
			c.quoted()
			c.finish()
			p.next()
			continue
		}
		if c.take("model") {
			p.modelSection(c)
			continue
		}
		if p.model == nil {
			c.fail(c.pos, "a file starts with a model section, found %s", c.found())
		}
		at := c.pos
		switch w := c.word("a section: model, config, block or class"); w {
		case "config":
			c.finish()
			p.next()
			p.config(0)
		case "block":
			p.blockSection(c)
		case "class":
			p.classSection(c)
		case "allow":
			p.model.tolerate.add(c)
			p.next()
		default:
			c.fail(at, "want a section: model, config, block, class or allow, found %q", w)
		}
	}
	if len(p.arch.models) == 0 {
		panic(&SchemaError{1, 1, "the file describes no model"})
	}
}

// typeName reads a model type: a word that may hold - and . and start with a digit.
func (c *cursor) typeName() string {
	c.skip()
	start := c.pos
	for c.pos < len(c.text) && (isWord(c.text[c.pos]) || c.text[c.pos] == '-' || c.text[c.pos] == '.') {
		c.pos++
	}
	if c.pos == start {
		c.fail(start, "want a model type, found %s", c.found())
	}
	return c.text[start:c.pos]
}

// others reads "(a, b)" if it stands next.
func (c *cursor) others() []string {
	var out []string
	if c.take("(") {
		for {
			out = append(out, c.typeName())
			if c.take(")") {
				break
			}
			c.want(",")
		}
	}
	return out
}

func (c *cursor) prefix(def string) string {
	if !c.take("prefix") {
		return def
	}
	c.skip()
	start := c.pos
	for c.pos < len(c.text) && (isWord(c.text[c.pos]) || c.text[c.pos] == '.') {
		c.pos++
	}
	if s := c.text[start:c.pos]; s != "" && s != "." {
		return s
	}
	return ""
}

func (p *archParser) modelSection(c *cursor) {
	c.skip()
	at := c.pos
	m := &model{name: c.typeName(), aliases: c.others(), keys: map[string]*key{}, blocks: map[string]*block{}}
	m.prefix = c.prefix("")
	c.finish()
	for _, t := range p.arch.ModelTypes() {
		if t == m.name || slices.Contains(m.aliases, t) {
			c.fail(at, "model %s is described twice", t)
		}
	}
	p.model, p.arch.models = m, append(p.arch.models, m)
	p.next()
}

func (p *archParser) config(indent int) {
	for p.below(indent) {
		c := p.cursor()
		if c.take("by") {
			p.byHand(c)
			continue
		}
		if known := c.take("known"); known || c.take("require") {
			start := c.pos
			r := requirement{cond: c.expr(), known: known}
			r.text = strings.TrimSpace(c.text[start:c.pos])
			c.finish()
			p.model.requires = append(p.model.requires, r)
			p.next()
			continue
		}
		p.key(c)
		p.next()
	}
}

// byHand steps over "by hand:", which marks lines that the generator keeps.
func (p *archParser) byHand(c *cursor) {
	c.want("hand")
	c.want(":")
	c.finish()
	p.next()
}

func (p *archParser) key(c *cursor) {
	c.lists = true
	c.skip()
	at := c.pos
	k := &key{name: c.variable(), aliases: c.others()}
	switch {
	case c.take(":="):
		k.always = c.expr()
	case c.take(":"):
		k.sub = c.subConfig()
	default:
		if c.take("=") {
			k.absent = c.expr()
		}
		if c.take("?=") {
			k.null = c.expr()
			if k.absent == nil {
				k.absent = literal{}
			}
		}
	}
	c.finish()
	for _, spelling := range append([]string{k.name}, k.aliases...) {
		if p.model.keys[spelling] != nil {
			c.fail(at, "key %s is described twice", spelling)
		}
		p.model.keys[spelling] = k
	}
}

// subConfig reads "[auto] TYPE [or self | optional | [over] JSON object]".
func (c *cursor) subConfig() *subConfig {
	s := &subConfig{auto: c.take("auto")}
	s.modelType = c.typeName()
	s.over = c.take("over")
	switch {
	case !s.over && c.take("or"):
		c.want("self")
		s.self = true
	case !s.over && c.take("optional"):
		s.optional = true
	case s.over || c.peekBrace():
		if !c.peekBrace() {
			c.fail(c.pos, "want a JSON object, found %s", c.found())
		}
		v, _, err := pyjson.Parse([]byte(c.text[c.pos:]))
		if err != nil {
			c.fail(c.pos, "want a JSON object: %v", err)
		}
		s.object = v.(map[string]any)
		c.pos = len(c.text)
	}
	return s
}

func (c *cursor) peekBrace() bool {
	c.skip()
	return c.peek() == '{'
}

func (p *archParser) blockSection(c *cursor) {
	c.skip()
	at := c.pos
	b := &block{name: c.variable()}
	if c.take("(") {
		for !c.take(")") {
			if len(b.params) > 0 {
				c.want(",")
			}
			b.params = append(b.params, c.variable())
		}
	}
	c.finish()
	if p.model.blocks[b.name] != nil {
		c.fail(at, "block %s is described twice", b.name)
	}
	p.next()
	b.body = p.body(0, 0, nil)
	p.model.blocks[b.name] = b
}

func (p *archParser) classSection(c *cursor) {
	c.skip()
	at := c.pos
	cl := &class{name: c.word("a class name"), aliases: c.others()}
	if c.take("as") {
		for {
			cl.roles = append(cl.roles, c.word("a role"))
			if !c.take(",") {
				break
			}
		}
	}
	cl.prefix = c.prefix(p.model.prefix)
	c.finish()
	if p.model.class(cl.name) != nil {
		c.fail(at, "class %s is described twice", cl.name)
	}
	p.next()
	cl.body = p.body(0, 0, &cl.tolerate)
	p.model.classes = append(p.model.classes, cl)
}

// add reads what follows "allow": unexpected "pattern" or missing "pattern".
func (t *tolerate) add(c *cursor) {
	list := &t.unexpected
	if c.take("missing") {
		list = &t.missing
	} else {
		c.want("unexpected")
	}
	c.skip()
	at := c.pos
	pattern := c.quoted()
	if _, err := regexp.Compile(pattern); err != nil || len(pattern) > 1000 {
		c.fail(at, "the pattern is not one of package regexp's: %v", err)
	}
	*list = append(*list, pattern)
	c.finish()
}
