package peft

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

func adapterOf(t *testing.T, config string, tensors map[string][]uint64) *Adapter {
	c, err := ParseConfig([]byte(config))
	require.NoError(t, err)
	a := &Adapter{Config: c}
	for _, name := range sortedKeys(tensors) {
		a.Tensors = append(a.Tensors, safetensors.TensorInfo{Name: modelPrefix + name, DType: safetensors.F32, Shape: tensors[name]})
	}
	return a
}

// TestTiedTarget: with ensure_weight_tying the output embedding is adapted though
// target_modules names the input embedding only.
func TestTiedTarget(t *testing.T) {
	tensors := map[string][]uint64{
		"model.embed_tokens.lora_embedding_A": {4, 128}, "model.embed_tokens.lora_embedding_B": {32, 4},
		"lm_head.lora_A.weight": {4, 32}, "lm_head.lora_B.weight": {128, 4},
	}
	base := configBase(t, "qwen2_tied_bf16")
	const config = `{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["embed_tokens"]`
	r := Check(adapterOf(t, config+`, "ensure_weight_tying": true}`, tensors), base)
	require.Zero(t, r.Report.Count(diag.Error), r.Report.Summary())
	require.Equal(t, 2, r.Complete)
	r = Check(adapterOf(t, config+`}`, tensors), base)
	require.True(t, r.Report.Has(diag.AdapterUntargeted))
}

// TestParametersNest: of two parameters of a module the first that is registered is
// the innermost, in whichever order the base's file has them.
func TestParametersNest(t *testing.T) {
	infos := []safetensors.TensorInfo{
		{Name: "model.layers.0.mlp.experts.down_proj", DType: safetensors.F32, Shape: []uint64{4, 32, 48}},
		{Name: "model.layers.0.mlp.experts.gate_up_proj", DType: safetensors.F32, Shape: []uint64{4, 96, 32}},
	}
	tensors := map[string][]uint64{
		"model.layers.0.mlp.experts.base_layer.lora_A.weight": {8, 32}, "model.layers.0.mlp.experts.base_layer.lora_B.weight": {96, 8},
		"model.layers.0.mlp.experts.lora_A.weight": {8, 48}, "model.layers.0.mlp.experts.lora_B.weight": {32, 8},
	}
	for range 2 {
		base := BaseFromTensors(func(yield func(*safetensors.TensorInfo) bool) { _ = yield(&infos[0]) && yield(&infos[1]) })
		r := Check(adapterOf(t, `{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": [], "target_parameters": ["experts.gate_up_proj", "experts.down_proj"]}`, tensors), base)
		require.Zero(t, r.Report.Count(diag.Error), r.Report.Summary())
		require.Equal(t, 2, r.Complete)
		slices.Reverse(infos)
	}
}
