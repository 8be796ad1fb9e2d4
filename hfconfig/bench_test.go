package hfconfig_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/safetensors"
)

// moe has as many tensors as the largest published models: 58 layers of 256
// experts.
const moe = `model moe prefix model
config
  layers = 58
  experts = 256
  hidden_size = 7168
  width = 2048
class Moe as base
  for i < layers: model.layers.{i}:
    self_attn.q_proj, self_attn.k_proj, self_attn.v_proj, self_attn.o_proj linear [hidden_size, hidden_size]
    input_layernorm, post_attention_layernorm norm [hidden_size]
    for e < experts: mlp.experts.{e}:
      gate_proj, up_proj linear [width, hidden_size] if i >= 3 or e > 0
      down_proj linear [hidden_size, width]
`

func benchExpectation(tb testing.TB, config string) *hfconfig.Expectation {
	c, err := hfconfig.Parse([]byte(config))
	require.NoError(tb, err)
	x, err := hfconfig.Builtin().With(parseArch(tb, moe)).Expect(c, nil)
	require.NoError(tb, err)
	return x
}

var benchConfigs = map[string]string{
	"moe-44k":         `{"model_type": "moe"}`,
	"qwen2.5-vl-size": `{"model_type": "qwen2_5_vl", "architectures": ["Qwen2_5_VLForConditionalGeneration"]}`,
}

// BenchmarkExpect is the whole way from config.json to a map.
func BenchmarkExpect(b *testing.B) {
	for name, config := range benchConfigs {
		b.Run(name, func(b *testing.B) {
			c, err := hfconfig.Parse([]byte(config))
			require.NoError(b, err)
			r := hfconfig.Builtin().With(parseArch(b, moe))
			b.ReportAllocs()
			for b.Loop() {
				x, err := r.Expect(c, nil)
				require.NoError(b, err)
				x.Tensors(hfconfig.Save)
			}
		})
	}
}

// BenchmarkPlainMap builds the same map from names and shapes that are there:
// what Expect is measured against.
func BenchmarkPlainMap(b *testing.B) {
	for name, config := range benchConfigs {
		b.Run(name, func(b *testing.B) {
			all := slices.Collect(benchExpectation(b, config).All(hfconfig.Save))
			b.ReportAllocs()
			for b.Loop() {
				m := make(map[string][]uint64)
				for _, t := range all {
					m[string([]byte(t.Name))] = slices.Clone(t.Shape)
				}
			}
		})
	}
}

// BenchmarkAll iterates without a map.
func BenchmarkAll(b *testing.B) {
	x := benchExpectation(b, benchConfigs["moe-44k"])
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for range x.All(hfconfig.Save) {
			n++
		}
		require.Equal(b, x.Len(), n)
	}
}

func BenchmarkCompare(b *testing.B) {
	x := benchExpectation(b, benchConfigs["moe-44k"])
	var held []*safetensors.TensorInfo
	tensors := x.Tensors(hfconfig.Save)
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		held = append(held, &safetensors.TensorInfo{Name: name, DType: safetensors.BF16, Shape: tensors[name]})
	}
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, x.Compare(slices.Values(held), nil).Report.Err())
	}
}

func BenchmarkParseArch(b *testing.B) {
	text := []byte(readFile(b, "arch/qwen2_5_vl.arch"))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		_, err := hfconfig.ParseArch(text)
		require.NoError(b, err)
	}
}
