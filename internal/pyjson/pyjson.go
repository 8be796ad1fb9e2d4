// Package pyjson reads the JSON that Python writes: json.dumps emits NaN,
// Infinity and -Infinity, which encoding/json refuses, and json.load lets
// duplicate names pass, which are worth a warning.
package pyjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxBytes bounds the text that this package accepts. A trainer_state.json
// of a long run has tens of megabytes.
const MaxBytes = 256 << 20

// A Duplicate is a name that occurs twice in one object. As in Python, the last
// value wins.
type Duplicate struct {
	Name   string
	Offset int64 // of the second occurrence
}

// A SyntaxError says where text stops being JSON.
type SyntaxError struct {
	Offset       int64
	Line, Column int // from 1; the column counts bytes
	Err          error
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %v", e.Line, e.Column, e.Err)
}

func (e *SyntaxError) Unwrap() error { return e.Err }

// Float is a float64 that may be written as one of Python's literals.
type Float float64

// UnmarshalJSON accepts a number or a literal that Unmarshal has marked.
func (f *Float) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	if len(b) > 0 && b[0] == '"' {
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
		if x, ok := resolve(text).(float64); ok {
			*f = Float(x)
			return nil
		}
	} else if len(b) > 0 && (b[0] == '-' || b[0] >= '0' && b[0] <= '9') {
		x, err := strconv.ParseFloat(string(b), 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) { // 1e999 is inf in Python too
			return err
		}
		*f = Float(x)
		return nil
	}
	return fmt.Errorf("want a number, found %s", b)
}

// Unmarshal decodes data into v as encoding/json does. Literals of Python's can
// only be stored in fields of type Float, *Float or any (where they arrive as
// marked strings; use Parse for trees).
func Unmarshal(data []byte, v any) ([]Duplicate, error) {
	clean, dups, err := scan(data)
	if err != nil {
		return dups, err
	}
	if err := json.Unmarshal(clean, v); err != nil {
		return dups, located(data, err)
	}
	return dups, nil
}

// Check judges data without decoding it: it takes no more memory than the names of
// the objects that are open at once.
func Check(data []byte) ([]Duplicate, error) {
	var v ignored
	return Unmarshal(data, &v)
}

type ignored struct{}

func (*ignored) UnmarshalJSON([]byte) error { return nil }

// Parse decodes data into a tree of map[string]any, []any, string, json.Number,
// bool and nil; Python's literals become float64.
func Parse(data []byte) (any, []Duplicate, error) {
	clean, dups, err := scan(data)
	if err != nil {
		return nil, dups, err
	}
	dec := json.NewDecoder(bytes.NewReader(clean))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, dups, located(data, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, dups, syntaxError(data, dec.InputOffset(), errors.New("text after the value"))
	}
	return resolve(v), dups, nil
}

// mark begins the strings that stand for Python's literals between scan and
// resolve. It cannot occur by accident: scan drops it from nothing, and JSON
// text holds a NUL in a string only when somebody wrote \u0000.
const mark = "\x00py:"

// marked is how such a string begins in JSON.
const marked = `"\u0000py:`

// IsLiteral reports whether raw, which Unmarshal put into a json.RawMessage, is one
// of Python's literals.
func IsLiteral(raw []byte) bool {
	switch string(raw) {
	case marked + `NaN"`, marked + `Infinity"`, marked + `-Infinity"`:
		return true
	}
	return false
}

func resolve(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = resolve(x)
		}
	case []any:
		for i, x := range v {
			v[i] = resolve(x)
		}
	case string:
		switch v {
		case mark + "NaN":
			return math.NaN()
		case mark + "Infinity":
			return math.Inf(1)
		case mark + "-Infinity":
			return math.Inf(-1)
		}
	}
	return v
}

// scan finds duplicate names and rewrites the literals to marked strings. It
// follows strings and nesting only; encoding/json judges the grammar after it.
func scan(data []byte) ([]byte, []Duplicate, error) {
	if len(data) > MaxBytes {
		return nil, nil, fmt.Errorf("%d bytes of JSON, more than the limit of %d", len(data), MaxBytes)
	}
	if i := invalidUTF8(data); i >= 0 {
		return nil, nil, syntaxError(data, int64(i), errors.New("invalid UTF-8"))
	}
	if bytes.HasPrefix(data, []byte("\ufeff")) {
		return nil, nil, syntaxError(data, 0, errors.New("the text begins with a byte order mark, which Python's json.load refuses; save it as UTF-8 without one"))
	}
	var (
		dups  []Duplicate
		open  []map[string]struct{} // per open bracket: names seen, nil for an array
		name  = false               // the next string is a name
		clean = data
		moved = 0 // clean is data[moved:] rewritten, once a literal was found
	)
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '{', '[':
			if len(open) == maxDepth {
				return nil, nil, syntaxError(data, int64(i), fmt.Errorf("nested more than %d deep", maxDepth))
			}
			var names map[string]struct{}
			if c == '{' {
				names = make(map[string]struct{})
			}
			open, name = append(open, names), c == '{'
		case '}', ']':
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
			name = false
		case ',':
			name = len(open) > 0 && open[len(open)-1] != nil
		case ':':
			name = false
		case '"':
			end := stringEnd(data, i)
			var s string
			if name && json.Unmarshal(data[i:end], &s) == nil {
				names := open[len(open)-1]
				if _, dup := names[s]; dup && len(dups) < maxDuplicates {
					dups = append(dups, Duplicate{s, int64(i)})
				}
				names[s] = struct{}{}
			}
			i = end - 1
		case 'N', 'I', '-':
			for _, lit := range [...]string{"NaN", "Infinity", "-Infinity"} {
				if bytes.HasPrefix(data[i:], []byte(lit)) {
					if name { // marked, it would pass for one
						return nil, dups, syntaxError(data, int64(i), fmt.Errorf("%s where a name is wanted", lit))
					}
					if moved == 0 {
						clean = make([]byte, 0, len(data)+1024)
					}
					clean = append(clean, data[moved:i]...)
					clean = append(clean, marked...)
					clean = append(append(clean, lit...), '"')
					i += len(lit) - 1
					moved = i + 1
					break
				}
			}
		}
	}
	if moved > 0 {
		clean = append(clean, data[moved:]...)
	}
	return clean, dups, nil
}

const (
	maxDepth      = 1000 // Python's recursion limit
	maxDuplicates = 100
)

// stringEnd returns the index after the string that starts at data[i].
func stringEnd(data []byte, i int) int {
	for i++; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(data)
}

func invalidUTF8(data []byte) int {
	if utf8.Valid(data) {
		return -1
	}
	for i := 0; ; {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
}

// located gives the position of an error of encoding/json. The offset is that of
// the rewritten text, so it is exact unless literals stand before it.
func located(data []byte, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return syntaxError(data, max(syntax.Offset-1, 0), errors.New(strings.ReplaceAll(err.Error(), "JSON ", "")))
	case errors.As(err, &kind):
		return syntaxError(data, max(kind.Offset-1, 0), fmt.Errorf("%s where %s is wanted in field %q", kind.Value, kind.Type, kind.Field))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return syntaxError(data, int64(len(data)), errors.New("the text ends too early"))
	}
	return err
}

func syntaxError(data []byte, offset int64, err error) error {
	before := data[:min(offset, int64(len(data)))]
	return &SyntaxError{
		Offset: offset,
		Line:   1 + bytes.Count(before, []byte("\n")),
		Column: len(before) - bytes.LastIndexByte(before, '\n'),
		Err:    err,
	}
}
