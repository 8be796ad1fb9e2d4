package hfconfig_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/safetensors"
)

func expectText(t *testing.T, config string) *hfconfig.Expectation {
	c, err := hfconfig.Parse([]byte(config))
	require.NoError(t, err)
	x, err := hfconfig.Builtin().Expect(c, nil)
	require.NoError(t, err)
	return x
}

func named(names ...string) (held []*safetensors.TensorInfo) {
	for _, name := range names {
		held = append(held, &safetensors.TensorInfo{Name: name, DType: safetensors.U8, Shape: []uint64{0}})
	}
	return held
}

func TestCompareLongNames(t *testing.T) {
	x := expectText(t, `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1}`)
	for name, tt := range map[string]struct{ extra string }{
		"dots":       {strings.Repeat(".", 400_000)},
		"numbers":    {strings.Repeat("1.", 200_000)},
		"one module": {strings.Repeat("x", 400_000) + "."},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			got := x.Compare(slices.Values(named(tt.extra+"model.norm.weight", tt.extra+"lm_head.weight")), nil)
			require.Less(t, time.Since(start), 2*time.Second)
			require.Equal(t, 2, len(got.Unexpected))
			require.True(t, got.Report.Has(diag.TensorUnexpected))
		})
	}
}
