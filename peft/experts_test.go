package peft

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/safetensors"
)

func expectedBase(t *testing.T, config string) *Base {
	t.Helper()
	c, err := hfconfig.Parse([]byte(config))
	require.NoError(t, err)
	x, err := hfconfig.Builtin().Expect(c, nil)
	require.NoError(t, err)
	return NewBase(x)
}

// onExperts returns a LoRA of rank 2 on the given layers of each of four experts in
// the layers from first on, under the names of transformers 4.
func onExperts(t *testing.T, block string, first, inner int, parts, besides []string) *Adapter {
	t.Helper()
	targets := ""
	for i, p := range parts {
		targets += fmt.Sprintf("%s%q", map[bool]string{true: ", "}[i > 0], p)
	}
	c, err := ParseConfig([]byte(`{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": [` + targets + `]}`))
	require.NoError(t, err)
	a := &Adapter{Config: c}
	add := func(path string, in, out uint64) {
		for key, shape := range map[string][]uint64{"lora_A": {2, in}, "lora_B": {out, 2}} {
			a.Tensors = append(a.Tensors, safetensors.TensorInfo{Name: modelPrefix + path + "." + key + ".weight", DType: safetensors.F32, Shape: shape})
		}
	}
	size := func(part string, inner uint64) (in, out uint64) {
		if part == "down_proj" || part == "w2" {
			return inner, 16
		}
		return 16, inner
	}
	for layer := first; layer < 2; layer++ {
		for expert := range 4 {
			for _, p := range parts {
				in, out := size(p, uint64(inner))
				add(fmt.Sprintf("model.layers.%d.%s.experts.%d.%s", layer, block, expert, p), in, out)
			}
		}
		for _, module := range besides {
			for _, p := range parts {
				in, out := size(p, 12)
				add(fmt.Sprintf("model.layers.%d.%s.%s", layer, module, p), in, out)
			}
		}
	}
	return a
}

const moeSizes = `"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2, `

// TestExperts holds adapters of transformers 4 on single experts against what peft
// 0.21.2 was seen to make of them with transformers 5.23.
func TestExperts(t *testing.T) {
	mixtral := `{"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], ` + moeSizes + `"num_local_experts": 4}`
	qwen3 := `{"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], ` + moeSizes + `"num_experts": 4, "moe_intermediate_size": 8}`
	qwen2 := `{"model_type": "qwen2_moe", "architectures": ["Qwen2MoeForCausalLM"], ` + moeSizes + `"num_experts": 4, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 12}`
	gate, up, down := "gate_proj", "up_proj", "down_proj"
	for name, tt := range map[string]struct {
		base, block string
		inner       int
		parts       []string
		besides     []string
		want        string // "" if PEFT joins all of it
		message     string
	}{
		"mixtral, all":            {mixtral, "block_sparse_moe", 24, []string{"w1", "w2", "w3"}, nil, "", ""},
		"mixtral, down":           {mixtral, "block_sparse_moe", 24, []string{"w2"}, nil, "", ""},
		"mixtral, pair":           {mixtral, "block_sparse_moe", 24, []string{"w1", "w3"}, nil, "warning", "w1 and w3 without w2"},
		"mixtral, half":           {mixtral, "block_sparse_moe", 24, []string{"w1"}, nil, "error", "on w1 of experts and not on w3"},
		"qwen3_moe, all":          {qwen3, "mlp", 8, []string{gate, up, down}, nil, "", ""},
		"qwen3_moe, other half":   {qwen3, "mlp", 8, []string{up, down}, nil, "error", "on up_proj of experts and not on gate_proj"},
		"qwen2_moe, unknown":      {qwen2, "mlp", 8, []string{gate, up, down}, []string{"mlp.shared_expert"}, "warning", "PEFT does not"},
		"qwen2_moe, half":         {qwen2, "mlp", 8, []string{gate}, []string{"mlp.shared_expert"}, "error", "on gate_proj of experts"},
		"qwen2_moe, shared alone": {qwen2, "none", 8, []string{gate, up, down}, []string{"mlp.shared_expert"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			base := expectedBase(t, tt.base)
			a := onExperts(t, tt.block, 0, tt.inner, tt.parts, tt.besides)
			if tt.block == "none" {
				kept := a.Tensors[:0]
				for _, x := range a.Tensors {
					if !isExpert(x.Name) {
						kept = append(kept, x)
					}
				}
				a.Tensors = kept
			}
			r := Check(a, base)
			if tt.want == "" {
				require.Empty(t, codes(&r.Report, diag.Note), "%s", r.Report.Summary())
				require.Equal(t, len(r.Modules), r.Complete)
				return
			}
			require.Len(t, r.Report.Problems(), 1, "%s", r.Report.Summary())
			p := r.Report.Problems()[0]
			require.Equal(t, diag.AdapterExperts, p.Code)
			require.Equal(t, tt.want, p.Severity.String())
			require.Contains(t, p.Message, tt.message)
		})
	}
}

// TestExpertsBesides makes sure that dense layers and shared experts, whose
// tensors PEFT drops while it converts a config for experts, are told.
func TestExpertsBesides(t *testing.T) {
	base := expectedBase(t, `{"model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"], `+moeSizes+`"num_key_value_heads": 4, "n_routed_experts": 4,
		"num_experts_per_tok": 2, "moe_intermediate_size": 12, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "q_lora_rank": 8,
		"kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 4, "n_shared_experts": 1}`)
	a := onExperts(t, "mlp", 1, 12, []string{"gate_proj", "up_proj", "down_proj"}, []string{"mlp.shared_experts"})
	r := Check(a, base)
	found := r.Report.Problems()
	require.True(t, r.Report.Has(diag.AdapterExperts), "%s", r.Report.Summary())
	for _, p := range found {
		if p.Code == diag.AdapterExperts {
			require.Contains(t, p.Message, "3 modules outside of experts, such as model.layers.1.mlp.shared_experts.down_proj")
		}
	}
}
