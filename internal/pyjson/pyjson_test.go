package pyjson

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnmarshalLiterals(t *testing.T) {
	var v struct {
		A, B, C, D, E Float
		F             *Float
		S             string
	}
	dups, err := Unmarshal([]byte(`{"a": NaN, "b": -Infinity, "c": Infinity, "d": -1.5e0, "e": 1e999, "f": null, "s": "NaN, \"Infinity"}`), &v)
	require.NoError(t, err)
	require.Empty(t, dups)
	require.True(t, math.IsNaN(float64(v.A)))
	require.Equal(t, []Float{Float(math.Inf(-1)), Float(math.Inf(1)), -1.5, Float(math.Inf(1))}, []Float{v.B, v.C, v.D, v.E})
	require.Nil(t, v.F)
	require.Equal(t, `NaN, "Infinity`, v.S)

	_, err = Unmarshal([]byte(`{"a": "NaN"}`), &v)
	require.ErrorContains(t, err, "want a number", "a string is no literal")
}

func TestParse(t *testing.T) {
	v, dups, err := Parse([]byte(`{"n": 9007199254740993, "x": [Infinity, true, null, {"k": 1, "k": 2}], "\u006e": 3}`))
	require.NoError(t, err)
	require.Equal(t, map[string]any{"n": json.Number("3"), "x": []any{math.Inf(1), true, nil, map[string]any{"k": json.Number("2")}}}, v)
	require.Equal(t, []Duplicate{{"k", 61}, {"n", 71}}, dups)
}

func TestErrorsArePlaced(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"empty":      {``, "line 1, column 1"},
		"cut":        {"{\"a\":\n 1", "line 2, column"},
		"junk":       {`{} x`, "line 1, column"},
		"bom":        {"\ufeff{}", "line 1, column 1: the text begins with a byte order mark"},
		"bad word":   {`{"a": Nope}`, "line 1, column"},
		"bad utf-8":  {"{\"a\xff\": 1}", "line 1, column 4: invalid UTF-8"},
		"deep":       {strings.Repeat("[", 2000), "line 1, column 1001: nested more than 1000 deep"},
		"lone quote": {`{"a`, "line 1, column"},
		"NaN a name": {`{NaN: 1}`, "line 1, column 2: NaN where a name is wanted"},
		"2nd a name": {`{"a": [NaN], -Infinity: 1}`, "line 1, column 14: -Infinity where a name is wanted"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Parse([]byte(tt.in))
			require.ErrorContains(t, err, tt.want)
			var s *SyntaxError
			require.ErrorAs(t, err, &s)
			_, err = Check([]byte(tt.in))
			require.ErrorAs(t, err, &s)
		})
	}
}

func TestCheckBuildsNothing(t *testing.T) {
	text := []byte("[" + strings.Repeat("[],", 1<<20) + `{"a":NaN,"a":1}]`)
	allocs := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			dups, err := Check(text)
			require.NoError(b, err)
			require.Len(b, dups, 1)
		}
	})
	require.Less(t, allocs.AllocedBytesPerOp(), int64(2*len(text)), "a copy for the literal, and no tree")
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"a":NaN,"a":-Infinity}`, `[1e999,"\ud800"]`, `{"x":{"y":[{}]}}`, "\ufeff{}", `"\u0000py:NaN"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, dups, err := Parse(data)
		dups2, err2 := Check(data)
		if (err == nil) != (err2 == nil) || len(dups) != len(dups2) {
			t.Fatalf("%q: Parse says %v %v, Check %v %v", data, dups, err, dups2, err2)
		}
		var want any
		if json.Valid(data) && err != nil && !strings.Contains(err.Error(), "UTF-8") && !strings.Contains(err.Error(), "nested") {
			t.Fatalf("encoding/json accepts %q, we say %v", data, err)
		}
		if err == nil && json.Unmarshal(data, &want) == nil && (v == nil) != (want == nil) {
			t.Fatalf("%q: %v against %v", data, v, want)
		}
	})
}
