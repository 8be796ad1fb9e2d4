package hfconfig_test

import (
	"encoding/json"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/safetensors"
)

const checkpoints = "../testdata/checkpoints"

// readCheckpoint returns the config and the tensors of a checkpoint directory.
func readCheckpoint(t *testing.T, dir string) (*hfconfig.Config, []*safetensors.TensorInfo) {
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	c, err := hfconfig.Parse(text)
	require.NoError(t, err)
	m, err := safetensors.OpenModel(os.DirFS(dir), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	var out []*safetensors.TensorInfo
	for _, s := range m.Files() {
		require.NotNil(t, s.Header, s.Name)
		for _, info := range s.Header.Tensors {
			out = append(out, &info)
		}
	}
	return c, out
}

// A loading report is what from_pretrained of transformers 5.23 said of a
// checkpoint.
type loadingReport struct {
	Info struct {
		Missing    []string `json:"missing_keys"`
		Unexpected []string `json:"unexpected_keys"`
		Mismatched [][3]any `json:"mismatched_keys"`
	} `json:"transformers_loading_info"`
}

func TestCompareAgreesWithFromPretrained(t *testing.T) {
	known := hfconfig.Builtin().ModelTypes()
	dirs, err := filepath.Glob(filepath.Join(checkpoints, "*", "config.json"))
	require.NoError(t, err)
	require.NotEmpty(t, dirs)
	for _, path := range dirs {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			if strings.Contains(dir, "variant") {
				t.Skip("its weights have another file name")
			}
			c, held := readCheckpoint(t, dir)
			x, err := hfconfig.Builtin().Expect(c, nil)
			if !slices.Contains(known, c.ModelType()) {
				require.ErrorIs(t, err, hfconfig.ErrUnknownModel)
				return
			}
			require.NoError(t, err)
			var want loadingReport
			if text, err := os.ReadFile(filepath.Join(dir, "expected_report.json")); err == nil {
				require.NoError(t, json.Unmarshal(text, &want))
			}
			got := x.Compare(slices.Values(held), nil)
			require.ElementsMatch(t, want.Info.Missing, got.Missing)
			require.ElementsMatch(t, want.Info.Unexpected, got.Unexpected)
			var mismatched [][3]any
			for _, m := range got.WrongShape {
				mismatched = append(mismatched, [3]any{m.Native, numbers(m.Got), numbers(m.Want)})
			}
			require.ElementsMatch(t, want.Info.Mismatched, mismatched)
			bad := len(want.Info.Missing)+len(want.Info.Unexpected)+len(want.Info.Mismatched) > 0
			require.Equal(t, bad, got.Report.Err() != nil, got.Report.Summary())
		})
	}
}

func numbers(s []uint64) []any {
	out := []any{}
	for _, x := range s {
		out = append(out, float64(x))
	}
	return out
}

// damage is one way to spoil the tensors of a checkpoint.
type damage struct {
	name    string
	config  string // of the golden entry
	edit    func(held map[string][]uint64)
	weights string // golden entry whose tensors are held; config's if empty
	dtype   safetensors.DType
	vocab   uint64
	codes   []diag.Code // with their counts
	counts  []int       // less than 0: any
	tensor  string      // that the first problem names
	cause   string      // parts of the first problem's cause and fix
	fix     string
	content bool // no error
}

func rename(held map[string][]uint64, f func(string) string) {
	for _, name := range slices.Collect(maps.Keys(held)) {
		shape := held[name]
		delete(held, name)
		held[f(name)] = shape
	}
}

func remove(held map[string][]uint64, parts ...string) {
	for name := range held {
		for _, p := range parts {
			if strings.Contains(name, p) {
				delete(held, name)
			}
		}
	}
}

var damages = []damage{
	{name: "whole", config: "qwen2.5-vl-7b", edit: func(map[string][]uint64) {}, content: true},
	{name: "module", config: "qwen2-tiny", edit: func(h map[string][]uint64) { rename(h, func(s string) string { return "module." + s }) },
		codes: []diag.Code{diag.TensorMissing, diag.TensorUnexpected}, counts: []int{27, 27}, cause: "DistributedDataParallel; without it 27 of 27 tensors fit", fix: "unwrap_model"},
	{name: "compiled", config: "qwen2.5-vl-tiny", edit: func(h map[string][]uint64) { rename(h, func(s string) string { return "_orig_mod." + s }) },
		codes: []diag.Code{diag.TensorMissing, diag.TensorUnexpected}, counts: []int{57, 57}, cause: "torch.compile"},
	{name: "peft", config: "qwen2-tiny", edit: func(h map[string][]uint64) {
		rename(h, func(s string) string { return "base_model.model." + s })
	}, codes: []diag.Code{diag.TensorMissing, diag.TensorUnexpected}, counts: []int{27, 27}, cause: "PEFT", fix: "merge_and_unload"},
	{name: "fsdp", config: "qwen2-tiny", edit: func(h map[string][]uint64) {
		rename(h, func(s string) string { return strings.Replace(s, "self_attn.", "_fsdp_wrapped_module.self_attn.", 1) })
	}, codes: []diag.Code{diag.TensorMissing, diag.TensorUnexpected}, counts: []int{14, 14}, cause: "FSDP"},
	{name: "base names", config: "qwen2-tiny", edit: func(h map[string][]uint64) {
		rename(h, func(s string) string { return strings.TrimPrefix(s, "model.") })
	}, codes: []diag.Code{diag.NamesTranslated}, counts: []int{1}, content: true},
	{name: "head", config: "qwen2-tiny", edit: func(h map[string][]uint64) { delete(h, "lm_head.weight") },
		codes: []diag.Code{diag.TensorMissing}, counts: []int{1}, tensor: "lm_head.weight", cause: "base model without the head", fix: "tie_word_embeddings"},
	{name: "bias", config: "qwen2-tiny", edit: func(h map[string][]uint64) { delete(h, "model.layers.1.self_attn.k_proj.bias") },
		codes: []diag.Code{diag.TensorMissing}, counts: []int{1}, cause: "random numbers"},
	{name: "tied", config: "qwen2-tiny-tied", edit: func(map[string][]uint64) {}, content: true},
	{name: "tied twice", config: "qwen2-tiny-tied", edit: func(h map[string][]uint64) { h["lm_head.weight"] = h["model.embed_tokens.weight"] },
		codes: []diag.Code{diag.TiedTwice}, counts: []int{1}, tensor: "lm_head.weight", content: true},
	{name: "tied target", config: "qwen2.5-vl-tiny-tied", edit: func(h map[string][]uint64) {
		h["lm_head.weight"] = h["model.embed_tokens.weight"]
		delete(h, "model.embed_tokens.weight")
	}, codes: []diag.Code{diag.TiedTargetOnly}, counts: []int{1}, content: true},
	{name: "tied neither", config: "qwen2-tiny-tied", edit: func(h map[string][]uint64) { delete(h, "model.embed_tokens.weight") },
		codes: []diag.Code{diag.TensorMissing}, counts: []int{2}, cause: "none of them is here"},
	{name: "text only", config: "qwen2.5-vl-7b", edit: func(h map[string][]uint64) { remove(h, "visual.") },
		codes: []diag.Code{diag.TensorMissing}, counts: []int{390}, cause: "all of visual is missing (390 tensors): a copy of the language model alone", fix: "text_config"},
	{name: "text only, named as one", config: "llava-1.5-7b-hf", edit: func(h map[string][]uint64) {
		remove(h, "vision_tower.", "multi_modal_projector.")
		rename(h, func(s string) string { return strings.TrimPrefix(s, "language_model.") })
	}, codes: []diag.Code{diag.TensorMissing, diag.TensorUnexpected}, counts: []int{-1, -1}, cause: "the weights fit LlamaForCausalLM (model_type llama) with the sizes of text_config: they are a copy of that part alone", fix: "LlamaForCausalLM"},
	{name: "model type", config: "qwen2-tiny", edit: func(h map[string][]uint64) { remove(h, "_proj.bias") },
		codes: []diag.Code{diag.TensorMissing}, counts: []int{6}, cause: "the weights fit LlamaForCausalLM (model_type llama), all names and sizes; config.json says Qwen2ForCausalLM (model_type qwen2)", fix: `set model_type to "llama"`},
	{name: "config of another model", config: "bert-tiny-mlm", weights: "llama-2-7b", edit: func(map[string][]uint64) {}, codes: []diag.Code{diag.TensorMissing, diag.TensorUnexpected}, counts: []int{-1, -1}, cause: "the weights are named as those of LlamaForCausalLM (model_type llama); config.json is of another model, BertForMaskedLM"},
	{name: "layers lost", config: "llama-2-7b", edit: func(h map[string][]uint64) { remove(h, "layers.30.", "layers.31.") },
		codes: []diag.Code{diag.TensorMissing}, counts: []int{18}, cause: "config.json promises 32 of model.layers, the checkpoint has the first 30"},
	{name: "shard lost", config: "llama-2-7b", edit: func(h map[string][]uint64) { remove(h, "layers.3.", "layers.4.") },
		codes: []diag.Code{diag.TensorMissing}, counts: []int{18}, cause: "2 of the 32 model.layers are missing whole"},
	{name: "layers beyond", config: "llama-tiny", edit: func(h map[string][]uint64) { h["model.layers.2.mlp.up_proj.weight"] = []uint64{48, 32} },
		codes: []diag.Code{diag.TensorUnexpected}, counts: []int{1}, cause: "config.json has 2 of model.layers (0 to 1)"},
	{name: "vocabulary", config: "qwen2-tiny", edit: func(h map[string][]uint64) {
		h["model.embed_tokens.weight"], h["lm_head.weight"] = []uint64{128, 32}, []uint64{128, 32}
	}, vocab: 125, codes: []diag.Code{diag.TensorShape}, counts: []int{2}, tensor: "lm_head.weight", cause: "grown to 128 after this config.json, which says 120, was written; the tokenizer has 125 entries, padded to a multiple of 128", fix: "set vocab_size to 128"},
	{name: "vocabulary and tokenizer", config: "qwen2-tiny", edit: func(h map[string][]uint64) {
		h["model.embed_tokens.weight"], h["lm_head.weight"] = []uint64{121, 32}, []uint64{121, 32}
	}, vocab: 121, codes: []diag.Code{diag.TensorShape}, counts: []int{2}, cause: "the tokenizer has 121 entries too"},
	{name: "vocabulary of others", config: "qwen2-tiny", edit: func(h map[string][]uint64) {
		h["model.embed_tokens.weight"], h["lm_head.weight"] = []uint64{64, 32}, []uint64{64, 32}
	}, vocab: 120, codes: []diag.Code{diag.TensorShape}, counts: []int{2}, cause: "config.json and the tokenizer of 120"},
	{name: "vocabulary in part", config: "qwen2-tiny", edit: func(h map[string][]uint64) { h["model.embed_tokens.weight"] = []uint64{128, 32} },
		codes: []diag.Code{diag.TensorShape}, counts: []int{1}, cause: "but lm_head.weight still has 120", fix: "resize_token_embeddings"},
	{name: "transposed", config: "qwen2-tiny", edit: func(h map[string][]uint64) { h["model.layers.0.mlp.down_proj.weight"] = []uint64{48, 32} },
		codes: []diag.Code{diag.TensorShape}, counts: []int{1}, cause: "transposed"},
	{name: "zero3", config: "qwen2-tiny", edit: func(h map[string][]uint64) {
		for name := range h {
			h[name] = []uint64{0}
		}
	}, codes: []diag.Code{diag.TensorEmpty}, counts: []int{27}, cause: "27 of 27 tensors are empty: the model was saved under DeepSpeed ZeRO-3", fix: "merge-zero"},
	{name: "mixture", config: "qwen2.5-vl-tiny", edit: func(h map[string][]uint64) {
		rename(h, func(s string) string {
			return strings.Replace(s, "model.layers.1.", "model.language_model.layers.1.", 1)
		})
	}, codes: []diag.Code{diag.LayoutsMixed}, counts: []int{1}, cause: "two saves"},
	{name: "rotary", config: "llama-2-7b", edit: func(h map[string][]uint64) { h["model.layers.0.self_attn.rotary_emb.inv_freq"] = []uint64{64} },
		codes: []diag.Code{diag.TensorTolerated}, counts: []int{1}, content: true},
	{name: "other class", config: "qwen2-tiny", edit: func(h map[string][]uint64) {
		delete(h, "lm_head.weight")
		h["score.weight"] = []uint64{2, 32}
	}, codes: []diag.Code{diag.TensorMissing, diag.TensorUnexpected}, counts: []int{1, 1}, cause: "the weights are those of Qwen2ForSequenceClassification, config.json says Qwen2ForCausalLM"},
	{name: "other model", config: "qwen2-tiny", edit: func(h map[string][]uint64) {
		rename(h, func(s string) string { return "encoder." + strings.ReplaceAll(s, "_proj", "") + "x" })
	}, codes: []diag.Code{diag.TensorMissing, diag.TensorUnexpected}, counts: []int{27, 27}, cause: "different models"},
	{name: "dtype", config: "llama-3.1-8b", edit: func(map[string][]uint64) {}, dtype: safetensors.F32,
		codes: []diag.Code{diag.DTypeOther}, counts: []int{1}, content: true},
}

func TestCompareDamage(t *testing.T) {
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			g := readGolden(t, "testdata/golden/"+d.config+".json.gz")
			c, err := hfconfig.Parse(g.Config)
			require.NoError(t, err)
			x, err := hfconfig.Builtin().Expect(c, nil)
			require.NoError(t, err)
			if d.weights != "" {
				g = readGolden(t, "testdata/golden/"+d.weights+".json.gz")
			}
			shapes := maps.Clone(g.Tensors)
			d.edit(shapes)
			if d.dtype == 0 {
				d.dtype = map[string]safetensors.DType{"bfloat16": safetensors.BF16, "float16": safetensors.F16, "float32": safetensors.F32}[c.DType()]
			}
			var held []*safetensors.TensorInfo
			for name, shape := range shapes {
				info := &safetensors.TensorInfo{Name: name, DType: d.dtype, Shape: shape}
				info.End = info.Elements() * uint64(d.dtype.Bits()) / 8
				held = append(held, info)
			}
			got := x.Compare(slices.Values(held), &hfconfig.CompareOptions{VocabSize: d.vocab})
			problems := got.Report.Problems()
			counts := make(map[diag.Code]int)
			for _, p := range problems {
				counts[p.Code]++
				t.Logf("%s %s: %s; %s; %s", p.Code, p.Severity, p.Message, p.Cause, p.Fix)
			}
			want := make(map[diag.Code]int)
			for i, code := range d.codes {
				if want[code] = d.counts[i]; want[code] < 0 {
					want[code] = counts[code]
				}
			}
			require.Equal(t, want, counts)
			require.Equal(t, d.content, got.Report.Err() == nil)
			if len(problems) == 0 {
				return
			}
			require.Contains(t, problems[0].Tensor, d.tensor)
			require.Contains(t, problems[0].Cause, d.cause)
			require.Contains(t, problems[0].Fix, d.fix)
		})
	}
}

func TestCompareLeavesLostTensorsOut(t *testing.T) {
	c, held := readCheckpoint(t, filepath.Join(checkpoints, "llama-tiny-tied-sharded"))
	x, err := hfconfig.Builtin().Expect(c, nil)
	require.NoError(t, err)
	lost := func(name string) bool { return name == "model.embed_tokens.weight" || name == "model.norm.weight" }
	held = slices.DeleteFunc(held, func(i *safetensors.TensorInfo) bool { return lost(i.Name) })
	found := x.Compare(slices.Values(held), &hfconfig.CompareOptions{Lost: lost})
	require.Empty(t, found.Missing, "the head is tied to a tensor that is only lost")
	require.Len(t, x.Compare(slices.Values(held), nil).Missing, 3)
}

// MTP layers are counted by the config, and transformers leaves them out.
func TestComparePromisedLayers(t *testing.T) {
	const config = `{"model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"], "num_hidden_layers": 2, "n_routed_experts": 8,
		"hidden_size": 64, "vocab_size": 50, "num_nextn_predict_layers": 3}`
	x := expectText(t, config)
	held := func(extra ...string) iter.Seq[*safetensors.TensorInfo] {
		return func(yield func(*safetensors.TensorInfo) bool) {
			for tensor := range x.All(hfconfig.Save) {
				yield(&safetensors.TensorInfo{Name: tensor.Name, DType: safetensors.BF16, Shape: tensor.Shape})
			}
			for _, name := range extra {
				yield(&safetensors.TensorInfo{Name: name, DType: safetensors.BF16, Shape: []uint64{64}})
			}
		}
	}
	message := func(extra ...string) string {
		r := x.Compare(held(extra...), nil).Report
		require.NoError(t, r.Err())
		for _, p := range r.Problems() {
			if p.Code == diag.LayersAheadMissing {
				return p.Message
			}
		}
		return ""
	}
	const one, two, three = "model.layers.2.enorm.weight", "model.layers.3.enorm.weight", "model.layers.4.enorm.weight"
	require.Equal(t, "config.json promises 3 layers for multi-token prediction (num_nextn_predict_layers), the checkpoint has 0 of them", message())
	require.Contains(t, message(one, two), "the checkpoint has 2 of them")
	require.Empty(t, message(one, two, three))
}
