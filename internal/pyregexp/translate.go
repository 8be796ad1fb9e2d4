package pyregexp

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// A translator rewrites Python's syntax to what both engines read alike: groups
// lose their names (.NET counts named groups after the others), and whatever
// Python refuses but an engine takes is an error.
type translator struct {
	in        []rune
	pos       int
	out       strings.Builder
	groups    int            // opened so far
	names     map[string]int // of groups
	irregular bool           // needs the backtracking engine
	repeats   int            // product of all counted repetitions
	depth     int
}

// maxUnrolled bounds the size of programs of package regexp, which writes counted
// repetitions out. The backtracking engine counts.
const maxUnrolled = 100_000

// maxNesting bounds the recursion of the engines' parsers.
const maxNesting = 200

func (t *translator) errorf(format string, args ...any) error {
	return fmt.Errorf("at position %d: "+format, append([]any{t.pos}, args...)...)
}

func (t *translator) peek(n int) rune {
	if t.pos+n < len(t.in) {
		return t.in[t.pos+n]
	}
	return -1
}

func (t *translator) take() rune {
	r := t.peek(0)
	t.pos++
	return r
}

// accept consumes s if it comes next.
func (t *translator) accept(s string) bool {
	for i, r := range []rune(s) {
		if t.peek(i) != r {
			return false
		}
	}
	t.pos += len([]rune(s))
	return true
}

func (t *translator) run() error {
	t.names, t.repeats = make(map[string]int), 1
	for t.pos < len(t.in) {
		var err error
		switch r := t.peek(0); r {
		case '\\':
			err = t.escape(false)
		case '[':
			err = t.class()
		case '(':
			err = t.group()
		case ')':
			if t.depth == 0 {
				return t.errorf("unbalanced parenthesis")
			}
			t.depth--
			t.out.WriteRune(t.take())
		case '{':
			t.braces()
		case '*', '+', '?':
			t.out.WriteRune(t.take())
			if t.peek(0) == '+' {
				return t.errorf("possessive quantifiers are not supported")
			}
		default:
			t.out.WriteRune(t.take())
		}
		if err != nil {
			return err
		}
	}
	if t.depth > 0 {
		return t.errorf("missing ), unterminated subpattern")
	}
	return nil
}

// braces writes {m}, {m,}, {,n} and {m,n}; anything else is literal text.
func (t *translator) braces() {
	i := 1
	for ; unicode.IsDigit(t.peek(i)) && t.peek(i) < 128; i++ {
	}
	low := string(t.in[t.pos+1 : t.pos+i])
	high, comma := "", t.peek(i) == ','
	if comma {
		j := i + 1
		for ; unicode.IsDigit(t.peek(j)) && t.peek(j) < 128; j++ {
		}
		high, i = string(t.in[t.pos+i+1:t.pos+j]), j
	}
	if t.peek(i) != '}' || low == "" && !comma {
		t.out.WriteString(`\{`)
		t.pos++
		return
	}
	t.pos += i + 1
	if low == "" {
		low = "0"
	}
	n, _ := strconv.Atoi(cmp.Or(high, low)) // too large a number is for the engine to refuse
	if t.repeats *= max(n, 1); t.repeats > maxUnrolled/len(t.in) || n > maxUnrolled {
		t.repeats, t.irregular = 1, true
	}
	t.out.WriteString("{" + low)
	if comma {
		t.out.WriteString("," + high)
	}
	t.out.WriteByte('}')
}

// group writes what an opening parenthesis begins.
func (t *translator) group() error {
	if t.depth++; t.depth > maxNesting {
		return t.errorf("nested more than %d deep", maxNesting)
	}
	t.pos++
	if t.peek(0) != '?' {
		t.groups++
		t.out.WriteByte('(')
		return nil
	}
	for _, open := range [...]string{"?=", "?!", "?<=", "?<!", "?>"} {
		if t.accept(open) {
			t.irregular = true
			t.out.WriteString("(" + open)
			return nil
		}
	}
	switch {
	case t.accept("?P<"):
		name, err := t.name('>')
		if err != nil {
			return err
		}
		if _, dup := t.names[name]; dup {
			return t.errorf("group %q is defined twice", name)
		}
		t.groups++
		t.names[name] = t.groups
		t.out.WriteByte('(')
	case t.accept("?P="):
		name, err := t.name(')')
		if err != nil {
			return err
		}
		n, ok := t.names[name]
		if !ok {
			return t.errorf("unknown group name %q", name)
		}
		t.depth--
		t.reference(n)
	case t.accept("?#"):
		for t.peek(0) != ')' {
			if t.take() < 0 {
				return t.errorf("missing ), unterminated comment")
			}
		}
		t.pos++
		t.depth--
	case t.accept("?:"):
		t.out.WriteString("(?:")
	case t.accept("?("):
		return t.condition()
	default:
		return t.flags()
	}
	return nil
}

// name reads a group's name up to the rune that ends it.
func (t *translator) name(end rune) (string, error) {
	start := t.pos
	for t.peek(0) != end {
		r := t.take()
		if r != '_' && !unicode.IsLetter(r) && (t.pos-1 == start || !unicode.IsDigit(r)) {
			return "", t.errorf("bad character in group name")
		}
	}
	name := string(t.in[start:t.pos])
	t.pos++
	if name == "" {
		return "", t.errorf("missing group name")
	}
	return name, nil
}

// condition writes (?(1)yes|no), whose group may be named.
func (t *translator) condition() error {
	t.irregular = true
	start := t.pos
	for t.peek(0) != ')' {
		if t.take() < 0 {
			return t.errorf("missing ), unterminated name")
		}
	}
	id := string(t.in[start:t.pos])
	t.pos++
	n, err := strconv.Atoi(id)
	if err != nil {
		n = t.names[id]
	}
	if n < 1 || n > t.groups {
		return t.errorf("unknown group %q", id)
	}
	fmt.Fprintf(&t.out, "(?(%d)", n)
	return nil
}

// flags writes (?i) at the start, and (?i:...).
func (t *translator) flags() error {
	start := t.pos - 1
	t.pos++
	from := t.pos
	for r := t.peek(0); r != ')' && r != ':'; r = t.peek(0) {
		if !strings.ContainsRune("imsu-", r) {
			return t.errorf("extension or flag (?%s is not supported", string(t.in[from:min(t.pos+1, len(t.in))]))
		}
		t.pos++
	}
	text := strings.ReplaceAll(string(t.in[from:t.pos]), "u", "")
	if text == "" || text == "-" {
		text = "-m" // the default, spelled so that both engines take it
	}
	if t.take() == ':' {
		t.out.WriteString("(?" + text + ":")
		return nil
	}
	if start != 0 || strings.Contains(text, "-") {
		return t.errorf("global flags not at the start of the expression")
	}
	t.depth--
	t.out.WriteString("(?" + text + ")")
	return nil
}

func (t *translator) reference(n int) {
	t.irregular = true
	fmt.Fprintf(&t.out, `\k<%d>`, n)
}

// literal writes a rune that means itself.
func (t *translator) literal(r rune) {
	if r < 128 && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
		fmt.Fprintf(&t.out, `\x%02x`, r)
		return
	}
	t.out.WriteRune(r)
}

// escape writes what a backslash begins, in a class or outside.
func (t *translator) escape(inClass bool) error {
	t.pos++
	r := t.take()
	switch {
	case r < 0:
		return t.errorf("bad escape (end of pattern)")
	case strings.ContainsRune("dDsSwW", r), !inClass && strings.ContainsRune("AbB", r):
		t.out.WriteString(`\` + string(r))
	case r == 'Z' && !inClass:
		t.out.WriteString(`\z`)
	case r == 'b':
		t.literal('\b')
	case strings.ContainsRune("afnrtv", r):
		t.literal([]rune("\a\f\n\r\t\v")[strings.IndexRune("afnrtv", r)])
	case r == 'x', r == 'u', r == 'U':
		digits := map[rune]int{'x': 2, 'u': 4, 'U': 8}[r]
		end := min(t.pos+digits, len(t.in))
		n, err := strconv.ParseUint(string(t.in[t.pos:end]), 16, 32)
		if err != nil || end-t.pos < digits || n > unicode.MaxRune {
			return t.errorf(`incomplete escape \%c`, r)
		}
		t.pos = end
		t.literal(rune(n))
	case r >= '0' && r <= '9':
		return t.digits(r, inClass)
	case unicode.IsLetter(r) && r < 128:
		return t.errorf(`bad escape \%c`, r)
	default:
		t.literal(r)
	}
	return nil
}

// digits writes an octal escape or a reference to a group.
func (t *translator) digits(first rune, inClass bool) error {
	isOctal := func(r rune) bool { return r >= '0' && r <= '7' }
	text := string(first)
	switch {
	case first == '0' || inClass || isOctal(first) && isOctal(t.peek(0)) && isOctal(t.peek(1)):
		for len(text) < 3 && isOctal(t.peek(0)) {
			text += string(t.take())
		}
		n, err := strconv.ParseUint(text, 8, 8)
		if err != nil {
			return t.errorf(`bad octal escape \%s`, text)
		}
		t.literal(rune(n))
	default:
		if r := t.peek(0); r >= '0' && r <= '9' {
			text += string(t.take())
		}
		n, _ := strconv.Atoi(text)
		if n > t.groups {
			return t.errorf("invalid group reference %d", n)
		}
		t.reference(n)
	}
	return nil
}

// class writes a character class. A bracket inside is a literal in Python.
func (t *translator) class() error {
	t.out.WriteRune(t.take())
	if t.peek(0) == '^' {
		t.out.WriteRune(t.take())
	}
	for first := true; ; first = false {
		switch r := t.peek(0); {
		case r < 0:
			return t.errorf("unterminated character set")
		case r == ']' && !first:
			t.out.WriteRune(t.take())
			return nil
		case r == '\\':
			if err := t.escape(true); err != nil {
				return err
			}
		case r == '-' && (first || t.peek(1) == ']'):
			t.pos++
			t.out.WriteString(`\-`)
		case r == '-':
			t.out.WriteRune(t.take())
		default:
			t.literal(t.take())
		}
	}
}
