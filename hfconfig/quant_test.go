package hfconfig_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/safetensors"
)

// A quantizedModel was made by testdata/quantized_models.py.
type quantizedModel struct {
	ID      string
	Config  json.RawMessage
	Layout  string // "" means the default one
	Tensors map[string]headerEntry
}

// A headerEntry is [dtype, shape].
type headerEntry struct {
	DType safetensors.DType
	Shape []uint64
}

func (h *headerEntry) UnmarshalJSON(text []byte) error {
	var dtype string
	if err := json.Unmarshal(text, &[]any{&dtype, &h.Shape}); err != nil {
		return err
	}
	h.DType, _ = safetensors.ParseDType(dtype)
	return nil
}

func quantizedModels(t testing.TB) []quantizedModel {
	var out []quantizedModel
	f, err := os.Open("testdata/quantized.json.gz")
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	require.NoError(t, json.NewDecoder(z).Decode(&out))
	return out
}

func (q *quantizedModel) held() []*safetensors.TensorInfo {
	var out []*safetensors.TensorInfo
	for _, name := range slices.Sorted(maps.Keys(q.Tensors)) {
		e := q.Tensors[name]
		out = append(out, &safetensors.TensorInfo{Name: name, DType: e.DType, Shape: e.Shape})
	}
	return out
}

func (q *quantizedModel) expect(t testing.TB) *hfconfig.Expectation {
	c, err := hfconfig.Parse(q.Config)
	require.NoError(t, err)
	x, err := hfconfig.Builtin().Expect(c, nil)
	require.NoError(t, err)
	return x
}

func TestQuantized(t *testing.T) {
	for _, q := range quantizedModels(t) {
		t.Run(q.ID, func(t *testing.T) {
			x := q.expect(t)
			require.True(t, x.QuantizationKnown)
			layout, _ := hfconfig.ParseLayout(q.Layout)
			want := make(map[string][]uint64)
			for name, e := range q.Tensors {
				want[name] = e.Shape
				if strings.Contains(name, "quant_state") { // JSON text
					want[name] = nil
				}
			}
			got := x.Tensors(layout)
			if strings.HasPrefix(q.ID, "gptq") || strings.HasPrefix(q.ID, "bnb-int8") || strings.HasPrefix(q.ID, "ct-") { // some parts may be left out
				for name, shape := range x.Optional(layout) {
					if _, held := want[name]; held {
						got[name] = shape
					}
				}
			}
			require.Equal(t, want, got)
			r := x.Compare(slices.Values(q.held()), nil).Report
			require.Empty(t, r.Problems())
		})
	}
}

// altered compares a model whose tensors were changed.
func (q quantizedModel) altered(t *testing.T, change func(tensors map[string]headerEntry)) *hfconfig.Comparison {
	q.Tensors = maps.Clone(q.Tensors)
	change(q.Tensors)
	return q.expect(t).Compare(slices.Values(q.held()), nil)
}

func TestQuantizedAltered(t *testing.T) {
	models := make(map[string]quantizedModel)
	for _, q := range quantizedModels(t) {
		models[q.ID] = q
	}
	codes := func(c *hfconfig.Comparison) (out []diag.Code) {
		for _, p := range c.Report.Problems() {
			if !slices.Contains(out, p.Code) {
				out = append(out, p.Code)
			}
		}
		return out
	}
	const module = "model.layers.1.mlp.down_proj"
	plain := headerEntry{safetensors.BF16, []uint64{128, 192}}
	drop := func(tensors map[string]headerEntry, prefix string) {
		maps.DeleteFunc(tensors, func(name string, _ headerEntry) bool { return strings.HasPrefix(name, prefix) })
	}

	t.Run("one weight stored as it is", func(t *testing.T) {
		c := models["gptq-4-32"].altered(t, func(m map[string]headerEntry) {
			drop(m, module)
			m[module+".weight"] = plain
		})
		require.Equal(t, []diag.Code{diag.QuantizationOther}, codes(c))
		require.NoError(t, c.Report.Err())
	})
	t.Run("an excepted weight quantized", func(t *testing.T) {
		c := models["fp8"].altered(t, func(m map[string]headerEntry) {
			m["lm_head.weight"] = headerEntry{safetensors.F8_E4M3, []uint64{96, 128}}
			m["lm_head.weight_scale_inv"] = headerEntry{safetensors.F32, []uint64{1, 1}}
		})
		require.Equal(t, []diag.Code{diag.QuantizationOther}, codes(c))
		require.Contains(t, c.Report.Problems()[0].Message, "lm_head")
	})
	t.Run("none quantized", func(t *testing.T) {
		for _, id := range []string{"fp8", "gptq-4-32", "bnb-nf4-double", "awq-gemm-128", "ct-w4a16"} {
			q := models[id]
			c, err := hfconfig.Parse([]byte(strings.Replace(string(q.Config), "quantization_config", "was_quantized", 1)))
			require.NoError(t, err)
			whole, err := hfconfig.Builtin().Expect(c, nil)
			require.NoError(t, err)
			found := q.altered(t, func(m map[string]headerEntry) {
				clear(m)
				for name, shape := range whole.Tensors(hfconfig.Save) {
					m[name] = headerEntry{safetensors.BF16, shape}
				}
			})
			require.Equal(t, []diag.Code{diag.QuantizationAbsent}, codes(found), id)
			require.Equal(t, whole.Parameters(), q.expect(t).Parameters(), id)
		}
	})
	t.Run("a scale missing", func(t *testing.T) {
		c := models["fp8"].altered(t, func(m map[string]headerEntry) { delete(m, module+".weight_scale_inv") })
		require.Equal(t, []diag.Code{diag.TensorMissing}, codes(c))
		require.Equal(t, []string{module + ".weight_scale_inv"}, c.Missing)
	})
	t.Run("scales of other groups", func(t *testing.T) {
		c := models["gptq-4-32"].altered(t, func(m map[string]headerEntry) {
			m[module+".scales"] = headerEntry{safetensors.F16, []uint64{2, 128}}
		})
		require.Equal(t, []diag.Code{diag.TensorShape}, codes(c))
	})
	t.Run("a part of another dtype", func(t *testing.T) {
		c := models["awq-gemm-32"].altered(t, func(m map[string]headerEntry) {
			m["model.layers.0.mlp.down_proj.qweight"] = headerEntry{safetensors.F16, m["model.layers.0.mlp.down_proj.qweight"].Shape}
		})
		require.Equal(t, []diag.Code{diag.QuantizedDType}, codes(c))
	})
	t.Run("experts as transformers 4 quantized them", func(t *testing.T) {
		c := models["bnb-nf4-mixtral"].altered(t, func(m map[string]headerEntry) {
			for name, e := range maps.Clone(m) {
				if !strings.Contains(name, ".experts.") {
					continue
				}
				n := e.Shape[0] * e.Shape[1]
				m[name] = headerEntry{safetensors.U8, []uint64{n / 2, 1}}
				m[name+".absmax"] = headerEntry{safetensors.F32, []uint64{n / 64}}
				m[name+".quant_map"] = headerEntry{safetensors.F32, []uint64{16}}
				m[name+".quant_state.bitsandbytes__nf4"] = headerEntry{safetensors.U8, []uint64{90}}
			}
		})
		require.Empty(t, c.Report.Problems())
	})
	t.Run("names of the base model", func(t *testing.T) {
		c := models["ct-w4a16"].altered(t, func(m map[string]headerEntry) {
			for name, e := range maps.Clone(m) {
				delete(m, name)
				m[strings.TrimPrefix(name, "model.")] = e
			}
		})
		require.Equal(t, []diag.Code{diag.NamesTranslated}, codes(c))
	})
	t.Run("scales of the cache", func(t *testing.T) {
		q := models["ct-fp8-static"]
		q.Config = json.RawMessage(strings.Replace(string(q.Config), `"quantization_status"`, `"kv_cache_scheme": {"num_bits": 8}, "quantization_status"`, 1))
		c := q.altered(t, func(m map[string]headerEntry) {
			m["model.layers.0.self_attn.k_scale"] = headerEntry{safetensors.BF16, []uint64{1}}
		})
		require.Equal(t, []diag.Code{diag.TensorTolerated}, codes(c))
	})
	t.Run("a method that is not known", func(t *testing.T) {
		q := models["gptq-4-32"]
		q.Config = json.RawMessage(strings.Replace(string(q.Config), `"quant_method": "gptq"`, `"quant_method": "magic"`, 1))
		c := q.altered(t, func(map[string]headerEntry) {})
		require.Equal(t, []diag.Code{diag.QuantizationUnknown}, codes(c))
		x := q.expect(t)
		require.False(t, x.QuantizationKnown)
		require.Equal(t, "magic", x.Quantization)
		require.Contains(t, x.Tensors(hfconfig.Save), "model.layers.0.self_attn.q_proj.bias")
		require.NotContains(t, x.Tensors(hfconfig.Save), module+".weight")
		c = q.altered(t, func(m map[string]headerEntry) {
			delete(m, "model.norm.weight")
			m["model.layers.0.mlp.side.weight"] = plain
		})
		require.Equal(t, []string{"model.norm.weight"}, c.Missing)
		require.Equal(t, []string{"model.layers.0.mlp.side.weight"}, c.Unexpected)
	})
}

// The experts of gpt-oss: one tensor per layer, transposed.
func TestMXFP4(t *testing.T) {
	const arch = `model m
config
  layers = 2
class C as base
  for i < layers: layers.{i}:
    q_proj linear [64, 64] bias
    mlp.experts:
      gate_up_proj param [4, 64, 192]
      gate_up_proj_bias param [4, 192]
      down_proj param [4, 96, 64]
`
	x, err := expect(t, arch, `{"model_type": "m", "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["layers.1", "lm_head"]}}`)
	require.NoError(t, err)
	got := x.Tensors(hfconfig.Save)
	require.Equal(t, map[string][]uint64{
		"layers.0.q_proj.weight": {64, 64}, "layers.0.q_proj.bias": {64}, "layers.0.mlp.experts.gate_up_proj_bias": {4, 192},
		"layers.0.mlp.experts.gate_up_proj_blocks": {4, 192, 2, 16}, "layers.0.mlp.experts.gate_up_proj_scales": {4, 192, 2},
		"layers.0.mlp.experts.down_proj_blocks": {4, 64, 3, 16}, "layers.0.mlp.experts.down_proj_scales": {4, 64, 3},
		"layers.1.q_proj.weight": {64, 64}, "layers.1.q_proj.bias": {64}, "layers.1.mlp.experts.gate_up_proj_bias": {4, 192},
		"layers.1.mlp.experts.gate_up_proj": {4, 64, 192}, "layers.1.mlp.experts.down_proj": {4, 96, 64},
	}, got)
	require.Equal(t, uint64(2*(64*64+64+4*192+4*64*192+4*96*64)), x.Parameters())
}

func TestQuantizationSettings(t *testing.T) {
	for quantization, want := range map[string]string{
		`{"quant_method": "gptq", "bits": "four"}`:                          `quantization_config.bits: want a whole number from 2 to 8, found "four"`,
		`{"quant_method": "gptq", "bits": 4, "group_size": 0}`:              "quantization_config.group_size: want -1 or more than 0, found 0",
		`{"quant_method": "gptq", "dynamic": {"+:(": {}}}`:                  "quantization_config.dynamic",
		`{"quant_method": "gptq", "dynamic": {"+:.*mlp": {"bits": 0}}}`:     "quantization_config.dynamic.bits: want a whole number",
		`{"quant_method": "fp8", "weight_block_size": [0, 128]}`:            "quantization_config.weight_block_size: want two whole numbers",
		`{"quant_method": "fp8", "modules_to_not_convert": {"a": 1}}`:       "quantization_config.modules_to_not_convert: want a list of strings",
		`{"quant_method": "fp8", "modules_to_not_convert": ["("]}`:          "quantization_config.modules_to_not_convert",
		`{"load_in_4bit": true, "bnb_4bit_quant_type": "nf5"}`:              `quantization_config.bnb_4bit_quant_type: want "fp4" or "nf4"`,
		`{"quant_method": "compressed-tensors", "config_groups": {"g": 3}}`: "quantization_config.config_groups: want objects",
		`{"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {"g": {"targets": ["Linear"], "weights": {"strategy": "group"}}}}`: "quantization_config.config_groups.g.weights.group_size: want a whole number above 0",
		`{"quant_method": "fp8", "modules_to_not_convert": ["(?=(x*)*)(\\w+.?)+(?<!y)$z"]}`:                                                                    "take too long",
	} {
		c, err := hfconfig.Parse([]byte(`{"model_type": "llama", "num_hidden_layers": 100, "quantization_config": ` + quantization + `}`))
		require.NoError(t, err)
		_, err = hfconfig.Builtin().Expect(c, nil)
		var e *hfconfig.ConfigError
		require.ErrorAs(t, err, &e, quantization)
		require.ErrorContains(t, err, want)
	}
	for quantization, want := range map[string]bool{
		`{"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq", "bits": 4}`:                                           true,
		`{"quant_method": "auto-round", "packing_format": "auto_round:auto_awq", "bits": 4}`:                                            true,
		`{"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}`:                                                            false,
		`{"quant_method": "compressed-tensors", "format": "marlin-24", "config_groups": {"g": {"targets": ["Linear"], "weights": {}}}}`: false,
		`{"quant_method": "hqq"}`: false,
		`{}`:                      false,
		`{"quant_method": "compressed-tensors", "config_groups": {}}`: false,
	} {
		c, err := hfconfig.Parse([]byte(`{"model_type": "llama", "compression_config": ` + quantization + `}`))
		require.NoError(t, err)
		x, err := hfconfig.Builtin().Expect(c, nil)
		require.NoError(t, err)
		require.Equal(t, want, x.QuantizationKnown, quantization)
	}
}

// Lists name modules as they are in memory or as they were on disk.
func TestQuantizedByAnyName(t *testing.T) {
	const arch = `model m
class C as base
  model.tower | save tower: for i < 2: layers.{i}: q, k linear [64, 64]
`
	const group = `"config_groups": {"a": {"targets": ["re:tower.*q$"], "format": "int-quantized", "weights": {}}, "b": {"targets": ["re:model.tower.*k"], "format": "naive-quantized", "weights": {"type": "float"}}}`
	for quantization, want := range map[string][]string{
		`"compressed-tensors", "ignore": ["tower.layers.0.q"], ` + group:                       {"k", "qk"},
		`"compressed-tensors", ` + group:                                                       {"qk", "qk"},
		`"fp8", "modules_to_not_convert": ["tower.layers.1", "q"]`:                             {"k", ""},
		`"fp8", "modules_to_not_convert": ["model.tower.layers.(0|3)", "er.layers"]`:           {"", "qk"},
		`"gptq", "modules_in_block_to_quantize": [["k"]], "dynamic": {"-:tower.layers.1": {}}`: {"k", ""},
	} {
		x, err := expect(t, arch, `{"model_type": "m", "quantization_config": {"quant_method": `+quantization+`}}`)
		require.NoError(t, err)
		got := []string{"", ""}
		tensors := x.Tensors(hfconfig.Save)
		for i := range got {
			for _, name := range []string{"q", "k"} {
				path := fmt.Sprintf("tower.layers.%d.%s", i, name)
				if _, plain := tensors[path+".weight_scale_inv"]; plain || tensors[path+".weight_scale"] != nil || tensors[path+".qweight"] != nil {
					got[i] += name
				}
			}
		}
		require.Equal(t, want, got, quantization)
	}
}
