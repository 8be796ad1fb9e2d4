package safetensors_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// seeded returns the file itself for seed 0, else a file that is made of it, or
// from nothing, and is damaged in a way that keeps most of its structure: what
// survives the JSON scanner gets to the rules behind it.
func seeded(file []byte, seed uint64) []byte {
	if seed == 0 {
		return file
	}
	m := mutator{rand.New(rand.NewPCG(seed, 0))}
	text, data := split(file)
	if m.oneIn(3) {
		text = m.header()
	}
	tokens := token.FindAllString(text, -1)
	for range m.IntN(4) {
		if len(tokens) > 0 {
			tokens = m.change(tokens)
		}
	}
	text = strings.Join(tokens, "")
	if !m.oneIn(8) {
		data = dataLength(tokens, data)
	}
	if m.oneIn(16) {
		data += m.IntN(3) - 1
	}
	n := uint64(len(text))
	if m.oneIn(32) {
		n += m.Uint64N(3) - 1
	}
	return append(append(binary.LittleEndian.AppendUint64(nil, n), text...), make([]byte, max(data, 0))...)
}

// split returns the header's text and the number of bytes after it.
func split(file []byte) (text string, data int) {
	if len(file) < 8 {
		return "", 0
	}
	n := min(binary.LittleEndian.Uint64(file), uint64(len(file)-8))
	return string(file[8 : 8+n]), len(file) - 8 - int(n)
}

// token takes any text apart: strings, words and numbers, blanks, single bytes.
var token = regexp.MustCompile(`(?s)"(?:[^"\\]|\\.)*"|[-+.\w]+|[ \t\r\n]+|.`)

// dataLength returns how much data the last of the offsets asks for, within
// reason, or what there is.
func dataLength(tokens []string, data int) int {
	end := -1
	for i := 1; i < len(tokens); i++ {
		if n, err := strconv.Atoi(tokens[i-1]); err == nil && tokens[i] == "]" && n < 1<<16 {
			end = max(end, n)
		}
	}
	if end < 0 {
		return min(data, 1<<16)
	}
	return end
}

var mutantDTypes = []string{
	"F4", "F6_E2M3", "F6_E3M2", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "BOOL", "U8", "I8",
	"I16", "U16", "F16", "BF16", "I32", "U32", "F32", "C64", "F64", "I64", "U64", "f32", "F8", "", "F32 ", "bfloat16",
}

var mutantWords = []string{
	"{", "}", "[", "]", ":", ",", "\"", "null", "true", "false", "{}", "[]", `""`, "[0]", "[0,0]", `{"F32":null}`, `{"F32":[]}`,
	`"__metadata__"`, `"dtype"`, `"shape"`, `"data_offsets"`, `"\u0064type"`, `"Shape"`, `"a"`, `"\u0061"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\udc00a"`,
	`"\/"`, `"\x41"`, `"\u00"`, `"` + "\x00" + `"`, `"` + "\x7f" + `"`, `"` + "\xff" + `"`, `"` + "\xc0\xaf" + `"`, `"` + "\xed\xa0\x80" + `"`, `"é"`, "\ufeff", "\v", "\u00a0", "/**/",
	"0", "-0", "00", "01", "1", "2", "4", "8", "+1", "-1", "1.", ".5", "1.0", "0.0", "1e0", "1E+2", "1e-400", "1e308", "1e309", "-1e400", "0e999", "1e", "NaN", "Infinity", "0x1",
	"4294967295", "4294967296", "9223372036854775807", "9223372036854775808", "2305843009213693951", "2305843009213693952", "18446744073709551608",
	"18446744073709551615", "18446744073709551616", "99999999999999999999", "100000000000000000000000000000000",
}

type mutator struct{ *rand.Rand }

func (m mutator) oneIn(n int) bool          { return m.IntN(n) == 0 }
func (m mutator) any(words []string) string { return words[m.IntN(len(words))] }

// header makes a header that is right, in one of the forms that are accepted.
func (m mutator) header() string {
	var members []string
	begin := 0
	for i := range m.IntN(5) {
		d := mutantDTypes[m.IntN(22)]
		elements := 8 * m.IntN(3)
		shape := []string{strconv.Itoa(elements)}
		for range m.IntN(4) {
			shape = slices.Insert(shape, m.IntN(len(shape)+1), "1")
		}
		end := begin + elements*mutantBits(d)/8
		name := m.any([]string{"a", "b", "weight", "", "é", `\u0061`, `\n`, "__metadata", "model.layers.0"}) + strings.Repeat("x", i)
		fields := []string{
			fmt.Sprintf(`"dtype":%q`, d), fmt.Sprintf(`"shape":[%s]`, strings.Join(shape, ",")), fmt.Sprintf(`"data_offsets":[%d,%d]`, begin, end),
		}
		if m.oneIn(8) {
			fields = append(fields, m.any(mutantWords[17:23])+":"+m.any(mutantWords[7:18]))
		}
		m.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
		value := "{" + strings.Join(fields, ",") + "}"
		if m.oneIn(8) {
			value = fmt.Sprintf(`[%q,[%s],[%d,%d]]`, d, strings.Join(shape, ","), begin, end)
		}
		members = append(members, fmt.Sprintf(`"%s":%s`, name, value))
		begin = end
	}
	if m.oneIn(2) {
		members = append(members, `"__metadata__":`+m.any([]string{`{"format":"pt"}`, `{}`, `null`, `{"a":"b","c":"\ud83d\ude00","a":""}`}))
	}
	m.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return "{" + strings.Join(members, ",") + "}" + strings.Repeat(" ", m.IntN(8))
}

// mutantBits returns the size of an element, from the digits of the name.
func mutantBits(dtype string) int {
	digits := strings.TrimLeft(strings.TrimPrefix(dtype, "BF"), "FUIC")
	digits, _, _ = strings.Cut(digits, "_")
	if n, err := strconv.Atoi(digits); err == nil {
		return n
	}
	return 8 // BOOL
}

// change makes one change: mostly one that leaves the JSON as it should be.
func (m mutator) change(tokens []string) []string {
	tokens = slices.Clone(tokens)
	// Where values begin, and where members or elements do.
	i := m.pick(tokens, func(before, t string) bool { return !strings.Contains("{}[]:,", t) || t == "{" || t == "[" })
	j := m.pick(tokens, func(before, t string) bool { return before == "{" || before == "," || before == "[" })
	from, to := value(tokens, i)
	switch m.IntN(10) {
	case 0:
		return m.damage(tokens)
	case 1:
		tokens[i] = m.any(mutantWords)
	case 2:
		return slices.Insert(tokens, i, m.any([]string{" ", "\n", "\t", "\r", " \r\n"}))
	case 3: // a number a little different, or of another form
		k := m.pick(tokens, func(_, t string) bool { return isUint(t) })
		if n, err := strconv.ParseUint(tokens[k], 10, 64); err == nil {
			tokens[k] = m.any([]string{fmt.Sprint(n + 1), fmt.Sprint(n - 1), fmt.Sprint(2 * n), fmt.Sprint(n + 8), "-" + tokens[k], tokens[k] + ".0", tokens[k] + "e0", "0" + tokens[k]})
		}
	case 4: // a string with one byte escaped, lost or damaged
		k := m.pick(tokens, func(_, t string) bool { return len(t) > 2 && t[0] == '"' })
		if s := tokens[k]; len(s) > 2 {
			at := 1 + m.IntN(len(s)-2)
			tokens[k] = s[:at] + m.any([]string{fmt.Sprintf(`\u%04x`, s[at]), fmt.Sprintf(`\u%04X`, s[at]), "", "\xe9", "\\", `\ud800`, string(s[at]) + string(s[at]), string(s[at] ^ 0x20)}) + s[at+1:]
		}
	case 5:
		k := m.pick(tokens, func(_, t string) bool { return slices.Contains(mutantDTypes, strings.Trim(t, `"`)) })
		tokens[k] = `"` + m.any(mutantDTypes) + `"`
	case 6: // a member or an element once more
		k := m.pick(tokens, func(before, _ string) bool { return before == "{" || before == "," || before == "[" })
		from, to := value(tokens, k)
		return slices.Insert(tokens, j, append(slices.Clone(tokens[from:to]), ",")...)
	case 7: // a value in place of another
		part := slices.Clone(tokens[from:to])
		from, to = value(tokens, m.pick(tokens, func(before, _ string) bool { return before == ":" || before == "[" }))
		return slices.Replace(tokens, from, to, part...)
	case 8: // a value inside of something
		open, shut := "[", "]"
		if m.oneIn(3) {
			open, shut = `{"x":`, "}"
		}
		if m.oneIn(4) {
			n := 120 + m.IntN(10)
			open, shut = strings.Repeat(open, n), strings.Repeat(shut, n)
		}
		return slices.Insert(slices.Insert(tokens, to, shut), from, open)
	case 9: // a member or an element less
		from, to := value(tokens, j)
		if to < len(tokens) && tokens[to] == "," {
			to++
		}
		return slices.Delete(tokens, from, to)
	}
	return tokens
}

// damage makes a change without regard to JSON.
func (m mutator) damage(tokens []string) []string {
	i, j := m.IntN(len(tokens)), m.IntN(len(tokens))
	switch m.IntN(4) {
	case 0:
		return slices.Delete(tokens, i, i+1)
	case 1:
		return slices.Insert(tokens, i, tokens[j])
	case 2:
		return slices.Insert(tokens, i, m.any(mutantWords))
	}
	tokens[i], tokens[j] = tokens[j], tokens[i]
	return tokens
}

// pick returns the index of some token for which ok holds, 0 if there is none.
func (m mutator) pick(tokens []string, ok func(before, token string) bool) int {
	start := m.IntN(len(tokens))
	for k := range tokens {
		if k = (start + k) % len(tokens); k > 0 && ok(tokens[k-1], tokens[k]) {
			return k
		}
	}
	return 0
}

func isUint(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}

// value returns the tokens from i to the end of the value that begins there; for
// the name of a member, to the end of its value.
func value(tokens []string, i int) (from, to int) {
	depth := 0
	for k := i; k < len(tokens); k++ {
		switch tokens[k] {
		case "{", "[":
			depth++
		case "}", "]":
			depth--
		case ":":
			continue
		}
		if depth <= 0 && (k+1 == len(tokens) || tokens[k+1] != ":") {
			return i, k + 1
		}
	}
	return i, len(tokens)
}
