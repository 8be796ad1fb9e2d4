package hfconfig

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// value is what an expression of a schema yields. The arithmetic is Python's,
// because the formulas are those of transformers' constructors.
type value struct {
	kind   kind
	i      int64 // kindInt; 0 or 1 for kindBool
	f      float64
	s      string         // kindString; for kindOther what it is
	list   []value        // kindList
	object map[string]any // of an object in config.json
}

type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindInt
	kindFloat
	kindString
	kindList
	kindOther // an object, or a number beyond 64 bits: only an error when used
)

func intValue(i int64) value     { return value{kind: kindInt, i: i} }
func floatValue(f float64) value { return value{kind: kindFloat, f: f} }
func stringValue(s string) value { return value{kind: kindString, s: s} }
func boolValue(b bool) value {
	if b {
		return value{kind: kindBool, i: 1}
	}
	return value{kind: kindBool}
}

// String writes v as JSON does, shortened.
func (v value) String() string {
	switch v.kind {
	case kindNull:
		return "null"
	case kindBool:
		return strconv.FormatBool(v.i != 0)
	case kindInt:
		return strconv.FormatInt(v.i, 10)
	case kindFloat:
		s := strconv.FormatFloat(v.f, 'g', -1, 64)
		if !strings.ContainsAny(s, ".eIN") {
			s += ".0"
		}
		return s
	case kindString:
		if len(v.s) > 60 {
			return strconv.Quote(v.s[:60]) + "…"
		}
		return strconv.Quote(v.s)
	case kindList:
		var b strings.Builder
		b.WriteByte('[')
		for i, x := range v.list {
			if i > 0 {
				b.WriteByte(',')
			}
			if i == 8 {
				b.WriteString("…")
				break
			}
			b.WriteString(x.String())
		}
		b.WriteByte(']')
		return b.String()
	default:
		return v.s
	}
}

func (v value) truth() bool {
	switch v.kind {
	case kindBool, kindInt:
		return v.i != 0
	case kindFloat:
		return v.f != 0
	case kindString:
		return v.s != ""
	case kindList:
		return len(v.list) > 0
	default:
		return v.kind == kindOther
	}
}

func (v value) number() (float64, bool) {
	switch v.kind {
	case kindInt:
		return float64(v.i), true
	case kindFloat:
		return v.f, true
	default:
		return 0, false
	}
}

func equal(a, b value) bool {
	if x, ok := a.number(); ok {
		if a.kind == kindInt && b.kind == kindInt {
			return a.i == b.i
		}
		y, ok := b.number()
		return ok && x == y
	}
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case kindNull:
		return true
	case kindBool:
		return a.i == b.i
	case kindString:
		return a.s == b.s
	case kindList:
		if len(a.list) != len(b.list) {
			return false
		}
		for i := range a.list {
			if !equal(a.list[i], b.list[i]) {
				return false
			}
		}
		return true
	default:
		return false
	}
}

var errOverflow = errors.New("the number is beyond 64 bits")

// arithmetic applies + - * / // % ** as Python does.
func arithmetic(op string, a, b value) (value, error) {
	if a.kind == kindInt && b.kind == kindInt && op != "/" {
		return intArithmetic(op, a.i, b.i)
	}
	x, ok := a.number()
	if !ok {
		return value{}, fmt.Errorf("%s is no number", a)
	}
	y, ok := b.number()
	if !ok {
		return value{}, fmt.Errorf("%s is no number", b)
	}
	switch op {
	case "+":
		return floatValue(x + y), nil
	case "-":
		return floatValue(x - y), nil
	case "*":
		return floatValue(x * y), nil
	case "**":
		return floatValue(math.Pow(x, y)), nil
	}
	if y == 0 {
		return value{}, errors.New("division by zero")
	}
	switch op {
	case "/":
		return floatValue(x / y), nil
	case "//":
		return floatValue(math.Floor(x / y)), nil
	default: // %
		m := math.Mod(x, y)
		if m != 0 && (m < 0) != (y < 0) {
			m += y
		}
		return floatValue(m), nil
	}
}

func intArithmetic(op string, a, b int64) (value, error) {
	switch op {
	case "+":
		c := a + b
		if (c > a) != (b > 0) {
			return value{}, errOverflow
		}
		return intValue(c), nil
	case "-":
		c := a - b
		if (c < a) != (b > 0) {
			return value{}, errOverflow
		}
		return intValue(c), nil
	case "*":
		return multiply(a, b)
	case "**":
		if b < 0 {
			return floatValue(math.Pow(float64(a), float64(b))), nil
		}
		r := intValue(1)
		if b > 63 && (a > 1 || a < -1) {
			return value{}, errOverflow
		}
		for range min(b, 64+b%2) { // beyond 64 only -1, 0 and 1 are left: parity is all that counts
			var err error
			if r, err = multiply(r.i, a); err != nil {
				return value{}, err
			}
		}
		return r, nil
	}
	if b == 0 {
		return value{}, errors.New("division by zero")
	}
	if b == -1 { // MinInt64 // -1
		if op == "%" {
			return intValue(0), nil
		}
		return multiply(a, -1)
	}
	q, r := a/b, a%b
	if r != 0 && (r < 0) != (b < 0) {
		q, r = q-1, r+b
	}
	if op == "//" {
		return intValue(q), nil
	}
	return intValue(r), nil
}

func multiply(a, b int64) (value, error) {
	c := a * b
	if a != 0 && (c/a != b || a == -1 && b == math.MinInt64) {
		return value{}, errOverflow
	}
	return intValue(c), nil
}

func compare(op string, a, b value) (bool, error) {
	switch op {
	case "==":
		return equal(a, b), nil
	case "!=":
		return !equal(a, b), nil
	}
	x, ok := a.number()
	y, ok2 := b.number()
	if !ok || !ok2 {
		return false, fmt.Errorf("%s %s %s: both sides must be numbers", a, op, b)
	}
	c := 0
	switch {
	case a.kind == kindInt && b.kind == kindInt:
		if a.i < b.i {
			c = -1
		} else if a.i > b.i {
			c = 1
		}
	case x < y:
		c = -1
	case x > y:
		c = 1
	case x != y: // NaN
		return false, nil
	}
	switch op {
	case "<":
		return c < 0, nil
	case "<=":
		return c <= 0, nil
	case ">":
		return c > 0, nil
	default: // >=
		return c >= 0, nil
	}
}

// whole turns a float that a rounding function produced into an integer.
func whole(f float64) (value, error) {
	if math.IsNaN(f) || f < math.MinInt64 || f >= math.MaxInt64 {
		return value{}, errOverflow
	}
	return intValue(int64(f)), nil
}
