package hfconfig_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

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

// These tests take a second each; were the cost not linear, they would not end.

func TestCompareLongNames(t *testing.T) {
	x := expectText(t, `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1}`)
	for name, tt := range map[string]struct{ extra string }{
		"dots":       {strings.Repeat(".", 400_000)},
		"numbers":    {strings.Repeat("1.", 200_000)},
		"one module": {strings.Repeat("x", 400_000) + "."},
	} {
		t.Run(name, func(t *testing.T) {
			got := x.Compare(slices.Values(named(tt.extra+"model.norm.weight", tt.extra+"lm_head.weight")), nil)
			require.Equal(t, 2, len(got.Unexpected))
			require.True(t, got.Report.Has(diag.TensorUnexpected))
		})
	}
}

func TestCompareManyLayers(t *testing.T) {
	x := expectText(t, `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 27000,
		"hidden_size": 32, "vocab_size": 32, "intermediate_size": 32, "num_attention_heads": 1}`)
	require.Greater(t, x.Len(), 240_000)
	var wrong []*safetensors.TensorInfo
	for tensor := range x.All(hfconfig.Save) {
		shape := slices.Clone(tensor.Shape)
		shape[0]++
		wrong = append(wrong, &safetensors.TensorInfo{Name: tensor.Name, DType: safetensors.U8, Shape: shape})
	}
	for name, tt := range map[string]struct {
		held             []*safetensors.TensorInfo
		code             diag.Code
		missing, misfits int
	}{
		"all layers missing":      {named("model.norm.weight", "other"), diag.TensorMissing, x.Len() - 1, 1},
		"half the layers missing": {wrong[:len(wrong)/2], diag.TensorMissing, x.Len() - len(wrong)/2, len(wrong) / 2},
		"all shapes of others":    {wrong, diag.TensorShape, 0, len(wrong)},
	} {
		t.Run(name, func(t *testing.T) {
			got := x.Compare(slices.Values(tt.held), nil)
			require.Len(t, got.Missing, tt.missing)
			require.Len(t, got.WrongShape, tt.misfits)
			require.True(t, got.Report.Has(tt.code))
		})
	}
}

func TestMaxTensors(t *testing.T) {
	c, err := hfconfig.Parse([]byte(`{"model_type": "llama", "num_hidden_layers": 100000}`))
	require.NoError(t, err)
	for limit, ok := range map[int]bool{0: false, 1000: false, 900_000: false, 1_000_000: true, 1 << 30: true} {
		x, err := hfconfig.Builtin().Expect(c, &hfconfig.ExpectOptions{MaxTensors: limit})
		if ok {
			require.NoError(t, err)
			require.Equal(t, 900_002, x.Len())
			continue
		}
		var bad *hfconfig.ConfigError
		require.ErrorAs(t, err, &bad)
		require.Contains(t, bad.Message, fmt.Sprintf("more than %d tensors", cmp.Or(limit, 250_000)))
	}
}
