package pickle

import (
	"bytes"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxLongBytes  = 1 << 10
	maxLongDigits = 4300 // Python's own limit (sys.set_int_max_str_digits)
)

// literal reads the number or string of an instruction that writes it as text,
// or a LONG1 or LONG4.
func (d *decoder) literal() (node, error) {
	if err := d.charge(len(d.ins.text) + 2*scalarCost); err != nil {
		return nil, err
	}
	text := string(d.ins.text)
	switch d.ins.op {
	case opLong1, opLong4:
		return d.long()
	case opInt, opLong:
		if d.ins.op == opInt && (text == "00" || text == "01") {
			return text == "01", nil
		}
		text = strings.TrimSuffix(strings.TrimSpace(text), "L")
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return i, nil
		}
		if len(text) <= maxLongDigits {
			if b, ok := new(big.Int).SetString(text, 10); ok {
				return b, nil
			}
		}
	case opFloat:
		if f, err := strconv.ParseFloat(strings.TrimSpace(text), 64); err == nil || f != 0 { // inf is told as out of range too
			return f, nil
		}
	case opUnicode:
		if s, ok := unescape(text, true); ok {
			return s, nil
		}
	case opString:
		if len(text) >= 2 && (text[0] == '\'' || text[0] == '"') && text[len(text)-1] == text[0] {
			if s, ok := unescape(text[1:len(text)-1], false); ok {
				return s, nil
			}
		}
	}
	return nil, d.syntax("%v of %.40q", &d.ins, text)
}

// long reads a little-endian integer in two's complement.
func (d *decoder) long() (node, error) {
	if d.ins.arg > maxLongBytes {
		return nil, d.syntax("integer of %d bytes", d.ins.arg)
	}
	b, err := d.in.data(int(d.ins.arg))
	if err != nil {
		return nil, err
	}
	b = bytes.Clone(b)
	slices.Reverse(b)
	i := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		i.Sub(i, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	if i.IsInt64() {
		return i.Int64(), nil
	}
	return i, d.charge(2 * len(b))
}

// byteString pushes a str of Python 2: text if it is UTF-8, else bytes.
func (d *decoder) byteString() error {
	if d.ins.op == opBinString && int32(d.ins.arg) < 0 {
		return d.syntax("BINSTRING of negative length")
	}
	if err := d.text(false); err != nil {
		return err
	}
	top := len(d.stack) - 1
	if b, ok := d.stack[top].([]byte); ok && utf8.Valid(b) {
		if err := d.charge(len(b)); err != nil {
			return err
		}
		d.stack[top] = string(b)
	}
	return nil
}

// unescape undoes the escapes of a repr'd string of Python 2, or of
// raw-unicode-escape, where only \u and \U are escapes and bytes are latin1.
func unescape(s string, raw bool) (string, bool) {
	if strings.IndexByte(s, '\\') < 0 && isASCII(s) {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		c := s[i]
		if c != '\\' || (raw && (i+1 == len(s) || s[i+1] != 'u' && s[i+1] != 'U')) {
			if raw {
				b.WriteRune(rune(c))
			} else {
				b.WriteByte(c)
			}
			i++
			continue
		}
		if i+1 == len(s) {
			return "", false
		}
		i += 2
		digits := 0
		switch c = s[i-1]; c {
		case 'n', 't', 'r', '\\', '\'', '"':
			b.WriteByte(simpleEscapes[c])
			continue
		case 'x':
			digits = 2
		case 'u':
			digits = 4
		case 'U':
			digits = 8
		default:
			return "", false
		}
		if len(s)-i < digits {
			return "", false
		}
		x, err := strconv.ParseUint(s[i:i+digits], 16, 32)
		if err != nil || x > utf8.MaxRune {
			return "", false
		}
		i += digits
		if raw {
			b.WriteRune(rune(x))
		} else {
			b.WriteByte(byte(x))
		}
	}
	return b.String(), true
}

var simpleEscapes = [256]byte{'n': '\n', 't': '\t', 'r': '\r', '\\': '\\', '\'': '\'', '"': '"'}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// replaceSurrogates turns lone surrogates, which Python encodes in three bytes,
// into U+FFFD. It reports whether the rest is UTF-8.
func replaceSurrogates(b []byte) (string, bool) {
	var out bytes.Buffer
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			if len(b) < 3 || b[0] != 0xed || b[1] < 0xa0 || b[1] > 0xbf || b[2]&0xc0 != 0x80 {
				return "", false
			}
			n = 3
		}
		out.WriteRune(r)
		b = b[n:]
	}
	return out.String(), true
}
