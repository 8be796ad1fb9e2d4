package jsonscan

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func skipAll(text string) error {
	s := New([]byte(text))
	if err := s.Skip(); err != nil {
		return err
	}
	return s.End()
}

// TestValues gives texts and the offset of the error that serde_json has as well,
// -1 for none.
func TestValues(t *testing.T) {
	for _, tt := range []struct {
		text string
		at   int
	}{
		{`null`, -1}, {` true `, -1}, {`false`, -1}, {`[]`, -1}, {`{}`, -1}, {`[[],{},""]`, -1}, {"{\"a\":\t1,\r\n\"a\":[2]}", -1},
		{``, 0}, {` `, 1}, {`nul`, 0}, {`nulL`, 0}, {`nullx`, 4}, {`[1,]`, 3}, {`[,1]`, 1}, {`[1 2]`, 3}, {`[1}`, 2}, {`{"a"}`, 4},
		{`{"a":1,}`, 7}, {`{a:1}`, 1}, {`{"a":}`, 5}, {`{"a":1`, 6}, {`{1:1}`, 1}, {`[1]]`, 3}, {"\ufeff1", 0}, {"1\v", 1}, {"1\x00", 1}, {`'a'`, 0},

		{`0`, -1}, {`-0`, -1}, {`10`, -1}, {`1.5`, -1}, {`1e5`, -1}, {`1E+5`, -1}, {`0.0e-10`, -1}, {`18446744073709551616`, -1},
		{`01`, 1}, {`-`, 1}, {`-a`, 1}, {`+1`, 0}, {`.5`, 0}, {`1.`, 2}, {`1.e5`, 2}, {`1e`, 2}, {`1e+`, 3}, {`NaN`, 0}, {`0x10`, 1},
		{`1e308`, -1}, {`1e309`, 0}, {`-1e999`, 0}, {`1e-999`, -1}, {`0e99999999999999999999`, -1}, {`1e99999999999999999999`, 0},
		{`1e-99999999999999999999`, -1}, {`1.7976931348623157e308`, -1}, {`1.7976931348623159e308`, 0}, {`0.00001e312`, -1},
		{strings.Repeat("9", 308), -1}, {strings.Repeat("9", 400), 0}, {"0." + strings.Repeat("0", 400) + "1e401", -1}, {"1" + strings.Repeat("0", 400) + "e-400", -1},

		{`"a\"\\\/\b\f\n\r\t\u00e9é"`, -1}, {`"\ud83d\ude00"`, -1}, {"\"\x7f\"", -1},
		{`"a`, 2}, {`"\x"`, 1}, {`"\`, 1}, {`"\u12"`, 1}, {`"\u12g4"`, 1}, {"\"\n\"", 1}, {"\"\\n\x00\"", 3}, {`"\ud83d"`, 1}, {`"\ude00"`, 1},
		{`"\ude00\ud83d"`, 1}, {`"\ud83da"`, 1}, {`"\ud83d\ud83d"`, 1}, {`"\ud83d\n"`, 1},

		{strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), -1},
		{strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1), MaxDepth},
	} {
		err := skipAll(tt.text)
		if tt.at < 0 {
			require.NoError(t, err, tt.text)
			continue
		}
		var syntax *SyntaxError
		require.ErrorAs(t, err, &syntax, tt.text)
		require.Equal(t, tt.at, syntax.Offset, "%s: %v", tt.text, err)
	}
}

func TestUint(t *testing.T) {
	for _, tt := range []struct {
		text string
		want uint64
		ok   bool
	}{
		{"0", 0, true}, {" 18446744073709551615", 1<<64 - 1, true}, {"18446744073709551616", 0, false}, {"-0", 0, false}, {"-5", 0, false},
		{"1.0", 0, false}, {"1e3", 0, false},
	} {
		v, ok, err := New([]byte(tt.text)).Uint()
		require.NoError(t, err)
		require.Equal(t, tt.ok, ok, tt.text)
		if ok {
			require.Equal(t, tt.want, v)
		}
	}
	_, _, err := New([]byte(`"1"`)).Uint()
	require.Error(t, err)
}

func TestWalk(t *testing.T) {
	s := New([]byte(` {"a\u0062":[1,"x"],"c":{}}`))
	require.Equal(t, Object, s.Kind())
	require.NoError(t, s.Enter())
	name, ok, err := s.NextName()
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "ab", name)
	require.Equal(t, 2, s.Start())
	require.Equal(t, Array, s.Kind())
	require.NoError(t, s.Enter())
	ok, err = s.NextElem()
	require.True(t, ok && err == nil)
	require.Equal(t, 13, s.Offset())
	v, ok, err := s.Uint()
	require.True(t, ok && err == nil)
	require.EqualValues(t, 1, v)
	ok, err = s.NextElem()
	require.True(t, ok && err == nil)
	str, err := s.Str()
	require.NoError(t, err)
	require.Equal(t, "x", str)
	ok, err = s.NextElem()
	require.True(t, !ok && err == nil)
	name, ok, err = s.NextName()
	require.True(t, ok && err == nil)
	require.Equal(t, "c", name)
	require.NoError(t, s.Skip())
	_, ok, err = s.NextName()
	require.True(t, !ok && err == nil)
	require.NoError(t, s.End())
}

// FuzzSkip holds the scanner against encoding/json, which accepts more: what is
// refused here only must be one of the rules that it does not have.
func FuzzSkip(f *testing.F) {
	for _, s := range []string{`{"a":[1,-0.5e3,"\ud83d\ude00",null,true,{}]}`, `[1e999]`, `"\ud800"`, `{"a":1,}`, `[[[`, "\"\xff\"", `1e-999`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		err := skipAll(string(text))
		valid := json.Valid(text)
		if err == nil {
			require.True(t, valid, "%q is no JSON", text)
			return
		}
		var syntax *SyntaxError
		require.True(t, errors.As(err, &syntax))
		require.True(t, 0 <= syntax.Offset && syntax.Offset <= len(text))
		if valid && utf8.Valid(text) {
			stricter := strings.Contains(err.Error(), "surrogate") || strings.Contains(err.Error(), "out of range") || strings.Contains(err.Error(), "in each other")
			require.True(t, stricter, "%q: %v", text, err)
			if strings.Contains(err.Error(), "out of range") {
				require.True(t, bytes.ContainsAny(text, "eE") || len(text) > 308, "%q", text)
			}
		}
	})
}
