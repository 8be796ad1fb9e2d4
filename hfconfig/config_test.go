package hfconfig_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/hfconfig"
)

func TestParse(t *testing.T) {
	c, err := hfconfig.Parse([]byte(`{"model_type": "llama", "architectures": ["A", "B"], "torch_dtype": "bfloat16", "x": NaN, "model_type": "qwen2",
		"quantization_config": {"quant_method": "awq"}}`))
	require.NoError(t, err)
	require.Equal(t, "qwen2", c.ModelType())
	require.Equal(t, []string{"A", "B"}, c.Architectures())
	require.Equal(t, "bfloat16", c.DType())
	require.Equal(t, "awq", c.Quantization())
	require.True(t, c.Report().Has(diag.DuplicateName))
	for _, text := range []string{"", "[]", "{", "null", "{}{}"} {
		_, err := hfconfig.Parse([]byte(text))
		require.Error(t, err, text)
	}
}

func TestBadConfigs(t *testing.T) {
	for _, tt := range []struct{ config, key, want string }{
		{`{"model_type": "llama", "hidden_size": "4096"}`, "hidden_size", `want a whole number, found "4096"`},
		{`{"model_type": "llama", "hidden_size": 64.0}`, "hidden_size", "want a whole number, found 64.0"},
		{`{"model_type": "llama", "hidden_size": null}`, "", "null is no number"},
		{`{"model_type": "llama", "vocab_size": null}`, "vocab_size", "want a whole number, found null"},
		{`{"model_type": "llama", "hidden_size": {}}`, "hidden_size", "found an object"},
		{`{"model_type": "llama", "hidden_size": 1e400}`, "hidden_size", "found"},
		{`{"model_type": "llama", "vocab_size": 99999999999999999999}`, "vocab_size", "found a number beyond 64 bits"},
		{`{"model_type": "llama", "vocab_size": -1}`, "vocab_size", "-1 is no size"},
		{`{"model_type": "llama", "vocab_size": 9000000000000000000}`, "vocab_size", "9000000000000000000 is no size"},
		{`{"model_type": "llama", "num_hidden_layers": 1000000000}`, "num_hidden_layers", "no model has more than 2000000; found 1000000000"},
		{`{"model_type": "llama", "num_hidden_layers": 1000000}`, "", "more than 250000 tensors"},
		{`{"model_type": "llama", "num_hidden_layers": -3}`, "num_hidden_layers", "want no negative number; found -3"},
		{`{"model_type": "llama", "num_hidden_layers": true}`, "num_hidden_layers", "found true"},
		{`{"model_type": "llama", "num_attention_heads": 0}`, "", "division by zero"},
		{`{"model_type": "llama", "num_attention_heads": 3}`, "", "the model needs hidden_size % num_attention_heads == 0"},
		{`{"model_type": "llama", "attention_bias": "false"}`, "attention_bias", `want true or false, found "false"`},
		{`{"model_type": "llama", "num_labels": "x", "architectures": ["LlamaForSequenceClassification"]}`, "num_labels", "want a whole number"},
		{`{"model_type": "llama", "id2label": [1], "architectures": ["LlamaForSequenceClassification"]}`, "id2label", "want an object"},
		{`{"model_type": "qwen2", "head_dim": null}`, "", "null is no number"},
		{`{"model_type": "llava", "text_config": {"model_type": "resnet"}}`, "text_config", "a config of type resnet has no hidden_size"},
		{`{"model_type": "qwen2_5_vl", "text_config": 3}`, "text_config", "want an object, found 3"},
		{`{"model_type": "qwen2_5_vl", "vision_config": {"depth": "x"}}`, "vision_config.depth", "want a whole number"},
		{`{"model_type": "qwen2_5_vl", "vision_config": {"depth": -1}}`, "vision_config.depth", "want no negative number"},
	} {
		c, err := hfconfig.Parse([]byte(tt.config))
		require.NoError(t, err)
		_, err = hfconfig.Builtin().Expect(c, nil)
		require.ErrorContains(t, err, tt.want, tt.config)
		require.NotErrorIs(t, err, hfconfig.ErrUnknownModel)
		var e *hfconfig.ConfigError
		if tt.key != "" {
			require.ErrorAs(t, err, &e, tt.config)
			require.Equal(t, tt.key, e.Key)
		}
	}
}

func TestUnknownModels(t *testing.T) {
	for _, config := range []string{`{}`, `{"model_type": 3}`, `{"model_type": "nobody"}`} {
		c, err := hfconfig.Parse([]byte(config))
		require.NoError(t, err)
		_, err = hfconfig.Builtin().Expect(c, nil)
		require.ErrorIs(t, err, hfconfig.ErrUnknownModel)
		var e *hfconfig.UnknownError
		require.True(t, errors.As(err, &e))
		require.NotEmpty(t, strings.TrimSpace(e.Reason))
	}
}

func TestKnownOnlyInPart(t *testing.T) {
	const arch = `model m
config
  part: auto inner
  known part.model_type == "inner"
class M as base
  use @base with part
model inner
config
  known size < 9
  size = 4
class I as base
  w param [size]
model other
class O as base
  w param [1]
`
	x, err := expect(t, arch, `{"model_type": "m"}`)
	require.NoError(t, err)
	require.Equal(t, map[string][]uint64{"w": {4}}, x.Tensors(hfconfig.Save))
	for config, want := range map[string]string{
		`{"model_type": "m", "part": {"model_type": "other"}}`: `model_type "m": only configs in which part.model_type == "inner" are known`,
		`{"model_type": "m", "part": {"size": 9}}`:             `model_type "inner": only configs in which size < 9 are known`,
	} {
		_, err = expect(t, arch, config)
		require.ErrorIs(t, err, hfconfig.ErrUnknownModel)
		require.ErrorContains(t, err, want)
	}
}

// What is built of parts of any type asks for keys that their schemas need not
// describe.
func TestCommonKeys(t *testing.T) {
	const arch = `model m
config
  part: auto inner
class M as base
  if part.is_decoder and part.cross_attention_hidden_size is null: decoder param []
  if part.model_type == "inner": labels param [num_labels, part.num_labels]
model inner
config
  size = 3
class I as base
  w param [1]
`
	for config, want := range map[string]map[string][]uint64{
		`{"model_type": "m"}`: {"labels": {2, 2}},
		`{"model_type": "m", "part": {"is_decoder": true, "id2label": {"0": "a"}}}`:                            {"decoder": {}, "labels": {2, 1}},
		`{"model_type": "m", "num_labels": 4, "part": {"is_decoder": true, "cross_attention_hidden_size": 8}}`: {"labels": {4, 2}},
	} {
		x, err := expect(t, arch, config)
		require.NoError(t, err)
		require.Equal(t, want, x.Tensors(hfconfig.Save), config)
	}
}

func TestPartial(t *testing.T) {
	for _, config := range []string{`{"model_type": "llama", "num_hidden_layers": 1}`, `{"model_type": "llama", "num_hidden_layers": 1, "architectures": ["LlamaForDreams"]}`} {
		c, err := hfconfig.Parse([]byte(config))
		require.NoError(t, err)
		x, err := hfconfig.Builtin().Expect(c, nil)
		require.NoError(t, err)
		require.True(t, x.Partial)
		require.Equal(t, "LlamaModel", x.Architecture)
	}
}

func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		config, tensor string
		want           []uint64
	}{
		{`{"model_type": "llama", "num_key_value_heads": null}`, "layers.0.self_attn.k_proj.weight", []uint64{4096, 4096}},
		{`{"model_type": "llama", "num_key_value_heads": 8}`, "layers.0.self_attn.k_proj.weight", []uint64{1024, 4096}},
		{`{"model_type": "llama", "num_key_value_heads": 8, "head_dim": 64}`, "layers.0.self_attn.k_proj.weight", []uint64{512, 4096}},
		{`{"model_type": "qwen2", "num_attention_heads": 16}`, "layers.0.self_attn.k_proj.weight", []uint64{32 * 256, 4096}},
		{`{"model_type": "qwen2", "num_attention_heads": 16, "num_key_value_heads": null}`, "layers.0.self_attn.k_proj.weight", []uint64{4096, 4096}},
		{`{"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}`, "score.weight", []uint64{2, 4096}},
		{`{"model_type": "llama", "architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "a"}}`, "score.weight", []uint64{1, 4096}},
		{`{"model_type": "llama", "architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "a"}, "num_labels": 5}`, "score.weight", []uint64{5, 4096}},
		{`{"model_type": "qwen2_5_vl", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}`, "language_model.layers.0.self_attn.k_proj.weight", []uint64{32, 64}},
		{`{"model_type": "qwen2_5_vl", "hidden_size": 64, "text_config": {"hidden_size": 128}}`, "language_model.norm.weight", []uint64{128}},
		{`{"model_type": "llava", "text_config": {"model_type": "gpt2", "n_embd": 24}}`, "multi_modal_projector.linear_2.weight", []uint64{24, 24}},
		{`{"model_type": "qwen2_5_vl", "vision_config": {"model_type": "qwen2_5_vl", "num_hidden_layers": 1}}`, "visual.blocks.0.norm1.weight", []uint64{3584}},
	} {
		c, err := hfconfig.Parse([]byte(tt.config))
		require.NoError(t, err)
		x, err := hfconfig.Builtin().Expect(c, nil)
		require.NoError(t, err)
		require.Equal(t, tt.want, x.Tensors(hfconfig.Native)[tt.tensor], tt.config)
	}
}

func TestHostileConfigIsPrintable(t *testing.T) {
	for _, bad := range []string{"\x1b]0;owned\a", "a\nb", "\u202egnp", "\u009b31m", "\x7f"} {
		quoted, err := json.Marshal(bad)
		require.NoError(t, err)
		for name, config := range map[string]string{
			"model type":  `{"model_type": %s}`,
			"quantized":   `{"model_type": "llama", "quantization_config": {"quant_method": %s}}`,
			"group":       `{"model_type": "llama", "quantization_config": {"quant_method": "compressed-tensors", "config_groups": {%s: {"targets": [[]]}}}}`,
			"pattern":     `{"model_type": "llama", "quantization_config": {"quant_method": "fp8", "modules_to_not_convert": ["(", %s]}}`,
			"rule":        `{"model_type": "llama", "quantization_config": {"quant_method": "gptq", "dynamic": {%s: {}}}}`,
			"class":       `{"model_type": "llama", "num_hidden_layers": 1, "architectures": [%s]}`,
			"value":       `{"model_type": "llama", "hidden_size": %s}`,
			"list":        `{"model_type": "llama", "hidden_size": [%s]}`,
			"text config": `{"model_type": "llava", "text_config": {"model_type": %s}}`,
			"twice":       `{"model_type": "llama", %[1]s: 1, %[1]s: 2, "num_hidden_layers": 1}`,
			"dtype":       `{"model_type": "llama", "num_hidden_layers": 1, "dtype": %s}`,
		} {
			t.Run(fmt.Sprintf("%s %q", name, bad), func(t *testing.T) {
				c, err := hfconfig.Parse(fmt.Appendf(nil, config, quoted))
				require.NoError(t, err)
				texts := problemTexts(c.Report())
				if x, err := hfconfig.Builtin().Expect(c, nil); err != nil {
					texts = append(texts, err.Error())
				} else {
					texts = append(texts, problemTexts(x.Compare(slices.Values(named(bad+".model.norm.weight", bad+".x", bad)), nil).Report)...)
				}
				require.NotEmpty(t, texts)
				for _, s := range texts {
					require.False(t, strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }), "%q", s)
				}
			})
		}
	}
	c, err := hfconfig.Parse([]byte(`{"model_type": "llama", "num_hidden_layers": 1}`))
	require.NoError(t, err)
	_, err = hfconfig.Builtin().Expect(c, &hfconfig.ExpectOptions{Class: "\x1b"})
	require.NoError(t, err, "the base model is known")
}

func problemTexts(r *diag.Report) (texts []string) {
	for _, p := range r.Problems() {
		texts = append(texts, p.Message, p.Cause, p.Fix)
	}
	return texts
}
