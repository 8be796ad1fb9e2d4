package diag_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
)

func TestProblemJSONIsBounded(t *testing.T) {
	long := "begin" + strings.Repeat("é", 200_000) + "end"
	p := diag.New(diag.TensorMissing, "it is missing")
	p.File, p.Tensor, p.Want, p.Got = long, long, long, "x"+long
	p.Related = []diag.Related{{File: long, Tensor: long, Message: "the first"}}
	text, err := json.Marshal(p)
	require.NoError(t, err)
	require.Less(t, len(text), 7*4096)
	type place struct{ File, Tensor, Want, Got string }
	var got struct {
		place
		Related []place
	}
	require.NoError(t, json.Unmarshal(text, &got))
	for _, s := range []string{got.File, got.Tensor, got.Want, got.Got, got.Related[0].File, got.Related[0].Tensor} {
		require.LessOrEqual(t, len(s), 4096)
		require.True(t, strings.HasSuffix(s, "end"))
		require.Contains(t, s, "bytes…")
		require.True(t, utf8.ValidString(s))
		require.NotContains(t, s, "\ufffd")
	}

	p.Tensor = strings.Repeat("x", 4000)
	text, err = json.Marshal(p)
	require.NoError(t, err)
	require.Contains(t, string(text), p.Tensor, "what programs look up is whole")
}
