package jsonscan

import (
	"math"
	"strconv"
)

// number reads the number at pos and judges its range as serde_json's
// Deserializer::parse_any_number does, without ever making a float64 of it
// unless that decides. integer is true for what serde_json holds as u64.
func (s *Scanner) number() (v uint64, integer bool, err error) {
	s.start = s.pos
	negative := s.data[s.pos] == '-'
	if negative {
		s.pos++
	}
	var (
		c    = s.digit()
		exp  = 0     // power of ten to multiply v with
		long = false // v does not hold all digits
	)
	if c > 9 {
		return 0, false, s.unexpected("a digit")
	}
	s.pos++
	if c == 0 && s.digit() <= 9 {
		return 0, false, s.errorf("number with a leading zero")
	}
	v = uint64(c)
	for c = s.digit(); c <= 9; c = s.digit() {
		switch {
		case long || overflows(v, c):
			long = true
			exp++
		default:
			v = v*10 + uint64(c)
		}
		s.pos++
	}
	switch s.byte() {
	case '.':
		if exp, v, err = s.fraction(exp, v); err != nil {
			return 0, false, err
		}
		if c := s.byte(); c != 'e' && c != 'E' {
			return 0, false, s.checkRange(v, exp)
		}
		fallthrough
	case 'e', 'E':
		return 0, false, s.exponent(v, exp)
	}
	if long {
		return 0, false, s.checkRange(v, exp)
	}
	return v, !negative, nil
}

// digit returns the value of the digit at pos, more than 9 if there is none.
func (s *Scanner) digit() byte { return s.byte() - '0' }

func (s *Scanner) byte() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func overflows(v uint64, c byte) bool {
	const limit = math.MaxUint64 / 10
	return v > limit || v == limit && uint64(c) > math.MaxUint64%10
}

// fraction reads a point and digits. Those beyond what v can hold are dropped.
func (s *Scanner) fraction(exp int, v uint64) (int, uint64, error) {
	s.pos++
	if s.digit() > 9 {
		return 0, 0, s.unexpected("a digit")
	}
	full := false
	for c := s.digit(); c <= 9; c = s.digit() {
		if full = full || overflows(v, c); !full {
			v = v*10 + uint64(c)
			exp--
		}
		s.pos++
	}
	return exp, v, nil
}

func (s *Scanner) exponent(v uint64, exp int) error {
	s.pos++
	sign := 1
	switch s.byte() {
	case '-':
		sign = -1
		s.pos++
	case '+':
		s.pos++
	}
	if s.digit() > 9 {
		return s.unexpected("a digit")
	}
	e := 0
	for c := s.digit(); c <= 9; c = s.digit() {
		e = min(e*10+int(c), 1<<27) // beyond any number that a text can balance
		s.pos++
	}
	return s.checkRange(v, exp+sign*e)
}

// checkRange refuses v·10^exp if it is no finite float64, by the arithmetic of
// serde_json without its float_roundtrip feature.
func (s *Scanner) checkRange(v uint64, exp int) error {
	const safe = 308 - 20 // v has at most 20 digits
	if v == 0 || exp <= safe {
		return nil
	}
	if exp <= 308 {
		pow, _ := strconv.ParseFloat("1e"+strconv.Itoa(exp), 64)
		if !math.IsInf(float64(v)*pow, 0) {
			return nil
		}
	}
	return &SyntaxError{s.start, "number out of range: too large for a float64"}
}
