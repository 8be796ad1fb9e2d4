package jsonscan

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// special returns a value whose lowest set bit, if any, is in the first of eight
// bytes, as a little-endian number, that does not stand for itself in a string: a
// quote, a backslash or a control character.
func special(v uint64) uint64 {
	const ones = 0x0101010101010101
	quote, backslash := v^'"'*ones, v^'\\'*ones
	return ((quote-ones)&^quote | (backslash-ones)&^backslash | (v-' '*ones)&^v) & (0x80 * ones)
}

// str reads the string at pos. It copies only what has escapes.
func (s *Scanner) str() (string, error) {
	s.start = s.pos
	from := s.pos + 1
	i := from
	for ; i+8 <= len(s.data); i += 8 {
		if found := special(binary.LittleEndian.Uint64(s.data[i:])); found != 0 {
			i += bits.TrailingZeros64(found) / 8
			break
		}
	}
	for i < len(s.data) && s.data[i] != '"' && s.data[i] != '\\' && s.data[i] >= ' ' {
		i++
	}
	if i < len(s.data) && s.data[i] == '"' {
		s.pos = i + 1
		return aliasString(s.data[from:i]), nil
	}
	s.pos = i
	return s.escaped(append([]byte(nil), s.data[from:i]...))
}

// escaped reads the rest of a string whose beginning is in buf.
func (s *Scanner) escaped(buf []byte) (string, error) {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return aliasString(buf), nil
		case c == '\\':
			r, err := s.escape()
			if err != nil {
				return "", err
			}
			buf = utf8.AppendRune(buf, r)
		case c < ' ':
			return "", s.errorf("control character %s in a string, not escaped", quote(c))
		default:
			buf = append(buf, c)
			s.pos++
		}
	}
	return "", s.errorf("the text ends in a string that begins at byte %d", s.start)
}

// escape reads one escape sequence, or two that make a surrogate pair.
func (s *Scanner) escape() (rune, error) {
	if s.pos+1 >= len(s.data) {
		return 0, s.errorf("the text ends in an escape")
	}
	switch c := s.data[s.pos+1]; c {
	case '"', '\\', '/':
		s.pos += 2
		return rune(c), nil
	case 'b':
		s.pos += 2
		return '\b', nil
	case 'f':
		s.pos += 2
		return '\f', nil
	case 'n':
		s.pos += 2
		return '\n', nil
	case 'r':
		s.pos += 2
		return '\r', nil
	case 't':
		s.pos += 2
		return '\t', nil
	case 'u':
	default:
		return 0, s.errorf("unknown escape \\%s", quote(c))
	}
	r, ok := s.hex(s.pos)
	switch {
	case !ok:
		return 0, s.errorf(`\u without four hexadecimal digits`)
	case 0xdc00 <= r && r < 0xe000:
		return 0, s.errorf(`\u%04x is the second half of a surrogate pair without the first`, r)
	case 0xd800 <= r && r < 0xdc00:
		low, ok := s.hex(s.pos + 6)
		if !ok || low < 0xdc00 || low >= 0xe000 {
			return 0, s.errorf(`\u%04x is the first half of a surrogate pair without the second`, r)
		}
		s.pos += 12
		return (r-0xd800)<<10 + (low - 0xdc00) + 0x10000, nil
	}
	s.pos += 6
	return r, nil
}

// hex reads the \uXXXX at i.
func (s *Scanner) hex(i int) (r rune, ok bool) {
	if len(s.data)-i < 6 || s.data[i] != '\\' || s.data[i+1] != 'u' {
		return 0, false
	}
	for _, c := range s.data[i+2 : i+6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
