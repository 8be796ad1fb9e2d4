package pyregexp

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// cases are judged by Python's re.fullmatch: TestPython holds them against it.
var cases = []struct {
	pattern string
	yes, no []string
	invalid bool
}{
	{pattern: `.*\.layers\.(0|2)\..*(q_proj|down_proj)$`, yes: []string{"model.layers.0.self_attn.q_proj", "x.layers.2.mlp.down_proj"}, no: []string{"model.layers.1.self_attn.q_proj", "layers.0.q_proj"}},
	{pattern: `^(?!.*visual).*\.(?:q|v)_proj`, yes: []string{"model.layers.0.q_proj"}, no: []string{"visual.blocks.0.q_proj", "model.layers.0.k_proj"}},
	{pattern: `(?=.*attn).*(?<!lm_)(?<=\.)q`, yes: []string{"attn.q"}, no: []string{"mlp.q", "attnq"}},
	{pattern: `(?P<part>a|b)x(?P=part)`, yes: []string{"axa", "bxb"}, no: []string{"axb"}},
	{pattern: `(?P<part>a)(b)\2\1`, yes: []string{"abba"}, no: []string{"abab"}},
	{pattern: `(a)?b(?(1)c|d)`, yes: []string{"abc", "bd"}, no: []string{"abd", "bc"}},
	{pattern: `(?P<n>a)?b(?(n)c|d)`, yes: []string{"abc", "bd"}, no: []string{"abd"}},
	{pattern: `x{,2}y{2,}z{3}`, yes: []string{"yyzzz", "xxyyyzzz"}, no: []string{"xxxyyzzz", "xyzzz"}},
	{pattern: `a{x}|{|b{,}|{}`, yes: []string{"a{x}", "{", "bb", "", "{}"}, no: []string{"a"}},
	{pattern: `[]a-]+|[^]b]|[[:x]+`, yes: []string{"]a-", "c", "[:x"}, no: []string{"b", "]b"}},
	{pattern: `[a-c[x]\d\-\]_]+`, yes: []string{"[7-]_]", "b7-]_]]"}, no: []string{"d", "[x]7"}},
	{pattern: `[\101\x42\u0043]+`, yes: []string{"ABC"}, no: []string{"D"}},
	{pattern: `(?i)Q_PROJ`, yes: []string{"q_proj"}, no: []string{"k_proj"}},
	{pattern: `(?i:Q)_proj`, yes: []string{"q_proj"}, no: []string{"q_PROJ"}},
	{pattern: `a(?#comment)b\Z`, yes: []string{"ab"}, no: []string{"abc"}},
	{pattern: `\Aa\.b\b.*`, yes: []string{"a.b", "a.b.c"}, no: []string{"a.bc", "axb"}},
	{pattern: `a{1001}`, yes: []string{strings.Repeat("a", 1001)}, no: []string{"a"}},
	{pattern: `(?>a+)b`, yes: []string{"aab"}, no: []string{"aa"}},
	{pattern: `é\d`, yes: []string{"é1"}, no: []string{"e1"}},
	{pattern: ``, yes: []string{""}, no: []string{"a"}},
	{pattern: `(`, invalid: true},
	{pattern: `)`, invalid: true},
	{pattern: `*.q_proj`, invalid: true},
	{pattern: `a**`, invalid: true},
	{pattern: `[a`, invalid: true},
	{pattern: `\`, invalid: true},
	{pattern: `\p{L}`, invalid: true},
	{pattern: `\k<x>`, invalid: true},
	{pattern: `(?<n>a)`, invalid: true},
	{pattern: `(?'n'a)`, invalid: true},
	{pattern: `(?P=n)`, invalid: true},
	{pattern: `(?P<n>a)(?P<n>b)`, invalid: true},
	{pattern: `(?P<1>a)`, invalid: true},
	{pattern: `(a)\2`, invalid: true},
	{pattern: `a(?i)b`, invalid: true},
	{pattern: `[z-a]`, invalid: true},
	{pattern: `\x4`, invalid: true},
	{pattern: `(?#a`, invalid: true},
	{pattern: `(a)(?(7)b)`, invalid: true},
}

func TestFullMatch(t *testing.T) {
	for _, tt := range cases {
		t.Run(tt.pattern, func(t *testing.T) {
			re, err := FullMatch(tt.pattern)
			if tt.invalid {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			for _, s := range tt.yes {
				ok, err := re.Match(s)
				require.NoError(t, err)
				require.True(t, ok, "%q", s)
			}
			for _, s := range tt.no {
				ok, err := re.Match(s)
				require.NoError(t, err)
				require.False(t, ok, "%q", s)
			}
		})
	}
}

func TestMatchAndGroup(t *testing.T) {
	for _, pattern := range []string{`.*?\.[^.]*\.(?P<idx>\d+)\.`, `(?=.)(?:^|.*?\.)h\.(?P<idx>\d+)\.`} {
		re, err := Match(pattern)
		require.NoError(t, err)
		idx, ok, err := re.Group("transformer.h.12.experts.3.w", "idx")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "12", idx)
		_, ok, err = re.Group("lm_head", "idx")
		require.NoError(t, err)
		require.False(t, ok)
	}
}

func TestLimits(t *testing.T) {
	re, err := FullMatch(`(?=(a+)+b)(a+)+b|x`)
	require.NoError(t, err)
	_, err = re.Match(strings.Repeat("a", 64))
	require.ErrorIs(t, err, ErrTooSlow)

	re, err = FullMatch(`(a+)+b`) // regular: linear
	require.NoError(t, err)
	ok, err := re.Match(strings.Repeat("a", 4096))
	require.NoError(t, err)
	require.False(t, ok)

	for _, long := range []string{strings.Repeat("a", MaxPattern+1), strings.Repeat("(", 1000) + strings.Repeat(")", 1000), strings.Repeat("(a", 1000)} {
		_, err = FullMatch(long)
		require.Error(t, err)
	}
}

func TestPython(t *testing.T) {
	python := os.Getenv("SAFECKPT_PYTHON")
	if python == "" {
		t.Skip("SKIPPED: set SAFECKPT_PYTHON to the path of a Python interpreter to hold the cases against re.fullmatch")
	}
	type question struct{ Pattern, Text string }
	var questions []question
	for _, tt := range cases {
		questions = append(questions, question{tt.pattern, ""})
		for _, s := range append(tt.yes, tt.no...) {
			questions = append(questions, question{tt.pattern, s})
		}
	}
	in, err := json.Marshal(questions)
	require.NoError(t, err)
	cmd := exec.Command(python, "-c", `
import json, re, sys
def ask(q):
    try: return re.fullmatch(q["Pattern"], q["Text"]) is not None
    except re.error: return None
print(json.dumps([ask(q) for q in json.load(sys.stdin)]))`)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	require.NoError(t, err)
	var answers []*bool
	require.NoError(t, json.Unmarshal(out, &answers))
	require.Len(t, answers, len(questions))
	for i, q := range questions {
		re, err := FullMatch(q.Pattern)
		require.Equal(t, answers[i] == nil, err != nil, "%q: %v", q.Pattern, err)
		if err == nil {
			ok, err := re.Match(q.Text)
			require.NoError(t, err)
			require.Equal(t, *answers[i], ok, "%q on %q", q.Pattern, q.Text)
		}
	}
}

func FuzzFullMatch(f *testing.F) {
	for _, tt := range cases {
		f.Add(tt.pattern, "model.layers.0.q_proj")
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if re, err := FullMatch(pattern); err == nil {
			if _, err := re.Match(s); err != nil {
				require.ErrorIs(t, err, ErrTooSlow)
			}
		}
	})
}
