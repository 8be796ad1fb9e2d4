package peft

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// targetsOf are modules of the tiny models that adapters go onto.
var targetsOf = map[string]struct{ linear, conv, embedding, norm []string }{
	"llama":   {[]string{"q_proj", "k_proj", "o_proj", "gate_proj", "down_proj", "layers.1.mlp.up_proj"}, nil, []string{"embed_tokens"}, []string{"input_layernorm", "norm"}},
	"qwen2":   {[]string{"q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"}, nil, []string{"embed_tokens"}, []string{"post_attention_layernorm"}},
	"mixtral": {[]string{"q_proj", "v_proj", "o_proj"}, nil, []string{"embed_tokens"}, []string{"input_layernorm"}},
	"gpt2":    {[]string{"c_attn", "c_proj", "c_fc"}, nil, []string{"wte"}, []string{"ln_1", "ln_f"}},
	"t5":      {[]string{"q", "v", "o", "wi", "wo"}, nil, []string{"shared"}, []string{"layer_norm"}},
	"vit":     {[]string{"q_proj", "v_proj", "fc1"}, []string{"projection"}, nil, []string{"layernorm_before", "layernorm"}},
	"resnet":  {[]string{"classifier.1"}, []string{"convolution", "layer.0.convolution", "shortcut.convolution"}, nil, []string{"normalization"}},
	"bert":    {[]string{"query", "value", "attention.output.dense"}, nil, []string{"word_embeddings"}, []string{"LayerNorm"}},
}

// typeOptions makes some options of each type.
var typeOptions = map[string]func(r *rand.Rand) map[string]any{
	"ADALORA": func(r *rand.Rand) map[string]any { return map[string]any{"init_r": 1 + r.IntN(8), "total_step": 10} },
	"BEFT":    nil,
	"BOFT": func(r *rand.Rand) map[string]any {
		return oneOf(r, map[string]any{"boft_block_size": 2 << r.IntN(2)}, map[string]any{"boft_block_num": 1 << r.IntN(3), "boft_block_size": 0})
	},
	"C3A": func(r *rand.Rand) map[string]any {
		return with(r, map[string]any{"block_size": 1 << r.IntN(4)}, "block_size_pattern", map[string]any{"(q|v)_proj": 2, "v": 4})
	},
	"DELORA": func(r *rand.Rand) map[string]any {
		return with(r, rank(r), "rank_pattern", map[string]any{`.*[vq]_proj`: 3})
	},
	"DEFT": rank,
	"FOURIERFT": func(r *rand.Rand) map[string]any {
		return with(r, map[string]any{"n_frequency": 1 + r.IntN(60)}, "n_frequency_pattern", map[string]any{"q_proj": 7, "c_attn": 9})
	},
	"GLORA": rank,
	"GRALORA": func(r *rand.Rand) map[string]any {
		return with(r, map[string]any{"r": 2 << r.IntN(3), "gralora_k": 1 << r.IntN(2)}, "hybrid_r", 3)
	},
	"HIRA": func(r *rand.Rand) map[string]any {
		return with(r, rank(r), "rank_pattern", map[string]any{`down_proj`: 3})
	},
	"HRA":       rank,
	"IA3":       nil,
	"LILY":      nil,
	"LN_TUNING": nil,
	"LOHA": func(r *rand.Rand) map[string]any {
		return with(r, with(r, rank(r), "use_effective_conv2d", true), "rank_pattern", map[string]any{`down_proj`: 3})
	},
	"LOKR": func(r *rand.Rand) map[string]any {
		o := with(r, with(r, rank(r), "use_effective_conv2d", true), "decompose_both", true)
		return with(r, o, "decompose_factor", []int{-1, 2, 3, 5, 8, 100}[r.IntN(6)])
	},
	"MISS": func(r *rand.Rand) map[string]any {
		return oneOf(r, rank(r), map[string]any{"r": 4, "init_weights": "bat"}, map[string]any{"r": 4, "mini_r": 2, "init_weights": "mini"})
	},
	"OFT": func(r *rand.Rand) map[string]any {
		return with(r, oneOf(r, map[string]any{"oft_block_size": 1 + r.IntN(20)}, map[string]any{"r": 1 + r.IntN(9), "oft_block_size": 0}), "block_share", true)
	},
	"OSF":    nil,
	"PEANUT": nil,
	"POLY": func(r *rand.Rand) map[string]any {
		return map[string]any{"r": 1 + r.IntN(4), "n_tasks": 1 + r.IntN(4), "n_skills": 1 + r.IntN(4), "n_splits": 1 << r.IntN(3)}
	},
	"PVERA":    rank,
	"RANDLORA": func(r *rand.Rand) map[string]any { return with(r, rank(r), "save_projection", false) },
	"ROAD": func(r *rand.Rand) map[string]any {
		return map[string]any{"group_size": 4, "variant": pick(r, 1, "road_1", "road_2", "road_4")[0]}
	},
	"SHIRA":    func(r *rand.Rand) map[string]any { return map[string]any{"r": 1 + r.IntN(3)} },
	"TINYLORA": nil,
	"TRAINABLE_TOKENS": func(r *rand.Rand) map[string]any {
		return map[string]any{"token_indices": []int{1, 2, 3}[:1+r.IntN(3)]}
	},
	"VBLORA": func(r *rand.Rand) map[string]any {
		return with(r, map[string]any{"r": 1 + r.IntN(8), "vector_length": 2 << r.IntN(3), "num_vectors": 4 + r.IntN(9), "topk": 1 + r.IntN(3)}, "save_only_topk_weights", true)
	},
	"VERA": func(r *rand.Rand) map[string]any { return with(r, rank(r), "save_projection", false) },
	"WAVEFT": func(r *rand.Rand) map[string]any {
		return with(r, map[string]any{"n_frequency": 1 + r.IntN(60)}, "proportional_parameters", true)
	},

	"PROMPT_TUNING": func(r *rand.Rand) map[string]any { return map[string]any{"num_virtual_tokens": 1 + r.IntN(9)} },
	"P_TUNING": func(r *rand.Rand) map[string]any {
		return map[string]any{"num_virtual_tokens": 1 + r.IntN(9), "encoder_hidden_size": 12}
	},
	"PREFIX_TUNING": func(r *rand.Rand) map[string]any {
		return with(r, map[string]any{"num_virtual_tokens": 1 + r.IntN(9), "encoder_hidden_size": 12}, "prefix_projection", true)
	},
	"MULTITASK_PROMPT_TUNING": func(r *rand.Rand) map[string]any {
		return map[string]any{"num_virtual_tokens": 1 + r.IntN(9), "num_tasks": 1 + r.IntN(4), "num_ranks": 1 + r.IntN(3)}
	},
	"CPT": func(*rand.Rand) map[string]any { return map[string]any{"cpt_token_ids": []int{1, 2, 3}} },
	"ADAPTION_PROMPT": func(r *rand.Rand) map[string]any {
		return map[string]any{"adapter_len": 1 + r.IntN(5), "adapter_layers": 1 + r.IntN(3)}
	},
}

func rank(r *rand.Rand) map[string]any { return map[string]any{"r": 1 + r.IntN(8)} }

func oneOf(r *rand.Rand, from ...map[string]any) map[string]any { return from[r.IntN(len(from))] }

func with(r *rand.Rand, o map[string]any, field string, v any) map[string]any {
	if r.IntN(3) == 0 {
		o[field] = v
	}
	return o
}

// randomTypeJob makes a config of a type other than LoRA.
func randomTypeJob(r *rand.Rand, peftType string) job {
	models := sortedKeys(targetsOf)
	j := job{Model: models[r.IntN(len(models))], Type: peftType, Tied: r.IntN(3) == 0, Config: map[string]any{}}
	if options := typeOptions[peftType]; options != nil {
		j.Config = options(r)
	}
	m := methods[peftType]
	if m == nil {
		m = &method{takes: []kind{linear}, rank: number{field: "r"}}
	}
	if m.prompt != nil || m.targets != nil {
		j.Model = pick(r, 1, "llama", "gpt2")[0]
		if m.prompt != nil && peftType != "CPT" {
			j.Model = pick(r, 1, "llama", "qwen2", "gpt2", "t5")[0]
			if peftType != "MULTITASK_PROMPT_TUNING" {
				j.Model = pick(r, 1, j.Model, "bert")[0]
			}
		}
		return j
	}
	if !slices.Contains(m.takes, conv1d) && j.Model == "gpt2" || !slices.Contains(m.takes, conv) && j.Model == "resnet" {
		j.Model = "llama"
	}
	of := targetsOf[j.Model]
	var names []string
	if slices.Contains(m.takes, linear) || slices.Contains(m.takes, conv1d) {
		names = append(names, of.linear...)
	}
	if slices.Contains(m.takes, conv) {
		names = append(names, of.conv...)
	}
	if slices.Contains(m.takes, embedding) {
		names = append(names, of.embedding...)
	}
	switch peftType {
	case "LN_TUNING":
		names = slices.Clone(of.norm)
	case "TRAINABLE_TOKENS":
		if names = slices.Clone(of.embedding); names == nil {
			return randomTypeJob(r, peftType)
		}
	}
	j.Config["target_modules"] = pick(r, len(names), names...)
	if peftType == "IA3" {
		j.Config["feedforward_modules"] = j.Config["target_modules"].([]string)[:r.IntN(len(j.Config["target_modules"].([]string))+1)]
	}
	if slices.Contains(strings.Fields(fieldsOf[peftType]), "bias") {
		with(r, j.Config, "bias", "all")
	}
	if slices.Contains(strings.Fields(fieldsOf[peftType]), "layers_to_transform") && len(of.conv) == 0 && j.Model != "t5" {
		with(r, j.Config, "layers_to_transform", []int{0, 2})
	}
	if slices.Contains(strings.Fields(fieldsOf[peftType]), "modules_to_save") && peftType != "LN_TUNING" {
		with(r, j.Config, "modules_to_save", pick(r, 1, of.norm...))
	}
	return j
}

// TestPythonTypes holds Check against adapters of all types that the real PEFT has
// just saved: they fit, and do not after one of their tensors was changed.
func TestPythonTypes(t *testing.T) {
	r := seeded(t)
	var jobs []job
	for _, peftType := range sortedKeys(typeOptions) {
		for range 6 {
			jobs = append(jobs, randomTypeJob(r, peftType))
		}
	}
	for i, s := range adaptersOf(t, jobs) {
		t.Run(fmt.Sprint(s.Type, "-", i), func(t *testing.T) {
			s.fits(t)
			if s.base != nil && methods[s.Type] != nil {
				broken(t, r, s.a, s.base)
			}
		})
	}
}
