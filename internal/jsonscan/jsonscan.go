// Package jsonscan is a pull scanner for JSON texts of known form: safetensors
// headers. It accepts and refuses what serde_json 1.0.154 does, which is
// stricter than encoding/json (lone surrogates, numbers out of range, depth), and
// knows the place of everything, so that callers can judge values themselves and
// go on after one that they do not like.
//
// Whether the text is valid UTF-8 is up to the caller. Bytes that are not pass
// through strings unchanged.
package jsonscan

import (
	"fmt"
	"unsafe"
)

// MaxDepth is how many objects and arrays may enclose each other.
const MaxDepth = 127

// Kind is what a value is, going by its first byte.
type Kind uint8

// The kinds of values.
const (
	Invalid Kind = iota // no value begins here, or the text has ended
	Object
	Array
	String
	Number
	Null
	Bool
)

// String returns the kind with its article, for messages: "a string".
func (k Kind) String() string {
	return [...]string{"no JSON value", "an object", "an array", "a string", "a number", "null", "a boolean"}[k]
}

// A SyntaxError says where the text stops being JSON, or breaks a limit.
type SyntaxError struct {
	Offset  int // in bytes from the start of the text
	Message string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Message) }

// A Scanner reads one JSON text. Callers must follow its structure: after Enter
// they take NextName or NextElem until it returns false, and between two of those
// exactly one value. After an error nothing is defined.
type Scanner struct {
	data  []byte
	pos   int
	start int  // of the last string, name or number
	depth int  // open objects and arrays
	first bool // nothing was read yet of the innermost one
}

// New returns a scanner of data. Strings that it returns share data's memory, so
// data must not be modified while any is in use.
func New(data []byte) *Scanner { return &Scanner{data: data} }

// Start returns the offset of the string, name or number that was read last.
func (s *Scanner) Start() int { return s.start }

// Kind skips blanks and returns the kind of the value that comes next.
func (s *Scanner) Kind() Kind {
	switch s.peek() {
	case '{':
		return Object
	case '[':
		return Array
	case '"':
		return String
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return Number
	case 'n':
		return Null
	case 't', 'f':
		return Bool
	}
	return Invalid
}

// Offset skips blanks and returns the offset of what comes next.
func (s *Scanner) Offset() int {
	s.peek()
	return s.pos
}

// Enter goes into the object or array that comes next; see Kind.
func (s *Scanner) Enter() error {
	if c := s.peek(); c != '{' && c != '[' {
		return s.unexpected("an object or array")
	}
	if s.depth == MaxDepth {
		return s.errorf("more than %d objects and arrays in each other", MaxDepth)
	}
	s.pos++
	s.depth++
	s.first = true
	return nil
}

// NextName returns the next name in an object; its value follows. At the end of
// the object it leaves it and returns false.
func (s *Scanner) NextName() (name string, ok bool, err error) {
	if ok, err := s.next('}'); !ok {
		return "", false, err
	}
	if s.peek() != '"' {
		return "", false, s.unexpected("a name in quotes")
	}
	name, err = s.str()
	if err != nil {
		return "", false, err
	}
	if s.peek() != ':' {
		return "", false, s.unexpected("a colon")
	}
	s.pos++
	return name, true, nil
}

// NextElem reports whether an array has another element, which follows. At the
// end of the array it leaves it.
func (s *Scanner) NextElem() (bool, error) {
	return s.next(']')
}

// next goes past the comma before the next member, or past the closing bracket.
func (s *Scanner) next(closing byte) (bool, error) {
	c := s.peek()
	switch {
	case c == closing:
		s.pos++
		s.depth--
		s.first = false // of the one around it
		return false, nil
	case s.first:
		s.first = false
		return true, nil
	case c != ',':
		return false, s.unexpected("a comma or " + string(closing))
	}
	s.pos++
	if s.peek() == closing {
		return false, s.errorf("a comma before %c", closing)
	}
	return true, nil
}

// Str returns the string that comes next.
func (s *Scanner) Str() (string, error) {
	if s.peek() != '"' {
		return "", s.unexpected("a string")
	}
	return s.str()
}

// Uint reads the number that comes next. ok is false if it is no unsigned 64-bit
// integer written in digits only: 1.0, 1e3 and -0 are none.
func (s *Scanner) Uint() (v uint64, ok bool, err error) {
	if c := s.peek(); c != '-' && (c < '0' || c > '9') {
		return 0, false, s.unexpected("a number")
	}
	return s.number()
}

// Text returns the text between two offsets, for messages.
func (s *Scanner) Text(from, to int) string { return string(s.data[from:to]) }

// Skip reads over the value that comes next, checking it in full.
func (s *Scanner) Skip() error {
	switch c := s.peek(); c {
	case '{':
		if err := s.Enter(); err != nil {
			return err
		}
		for {
			if _, ok, err := s.NextName(); !ok {
				return err
			}
			if err := s.Skip(); err != nil {
				return err
			}
		}
	case '[':
		if err := s.Enter(); err != nil {
			return err
		}
		for {
			if ok, err := s.NextElem(); !ok {
				return err
			}
			if err := s.Skip(); err != nil {
				return err
			}
		}
	case '"':
		_, err := s.str()
		return err
	case 'n':
		return s.literal("null")
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	default:
		if c == '-' || '0' <= c && c <= '9' {
			_, _, err := s.number()
			return err
		}
		return s.unexpected("a value")
	}
}

func (s *Scanner) literal(want string) error {
	if len(s.data)-s.pos < len(want) || string(s.data[s.pos:s.pos+len(want)]) != want {
		return s.unexpected(want)
	}
	s.pos += len(want)
	return nil
}

// End checks that nothing but blanks follows.
func (s *Scanner) End() error {
	if s.peek(); s.pos < len(s.data) {
		return s.unexpected("nothing more")
	}
	return nil
}

// peek skips blanks and returns the byte after them, 0 at the end of the text.
func (s *Scanner) peek() byte {
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		if c > ' ' || !IsBlank(c) {
			return c
		}
		s.pos++
	}
	return 0
}

// IsBlank reports whether c may stand between JSON tokens.
func IsBlank(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func (s *Scanner) errorf(format string, args ...any) error {
	return &SyntaxError{s.pos, fmt.Sprintf(format, args...)}
}

func (s *Scanner) unexpected(want string) error {
	if s.pos >= len(s.data) {
		return s.errorf("the text ends where %s is wanted", want)
	}
	return s.errorf("%s where %s is wanted", quote(s.data[s.pos]), want)
}

func quote(c byte) string {
	if c < 0x80 {
		return fmt.Sprintf("%q", rune(c))
	}
	return fmt.Sprintf("byte %#02x", c)
}

func aliasString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
