package hfconfig_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/safetensors"
)

// fuzzTensors bounds what a fuzzed config is followed through to the end for.
const fuzzTensors = 5000

// consistent checks what must hold for every expectation.
func consistent(t *testing.T, x *hfconfig.Expectation) {
	if x.Len() > fuzzTensors {
		return
	}
	total := uint64(0)
	var held []*safetensors.TensorInfo
	for tensor := range x.All(hfconfig.Save) {
		n := uint64(1)
		for _, d := range tensor.Shape {
			n *= d
		}
		total += n
		held = append(held, &safetensors.TensorInfo{Name: tensor.Name, DType: safetensors.U8, Shape: tensor.Shape, End: n})
	}
	if x.Quantization == "" {
		require.Equal(t, x.Parameters(), total)
	}
	require.Len(t, held, x.Len())
	for _, l := range x.Layouts() {
		x.Tensors(l)
		x.Optional(l)
	}
	for m := range x.Modules() {
		require.NotNil(t, m.Shape)
	}
	x.Tied()
	x.Compare(slices.Values(held[:len(held)/2]), nil)
}

func FuzzExpect(f *testing.F) {
	for _, g := range goldens(f) {
		if len(g.Tensors) < 100 {
			f.Add([]byte(g.Config))
		}
	}
	f.Add([]byte(`{"model_type":"llama","num_hidden_layers":1000000000,"hidden_size":-4,"num_labels":"x"}`))
	f.Add([]byte(`{"model_type":"qwen2_5_vl","text_config":{"text_config":{}},"vision_config":{"depth":NaN}}`))
	const tiny = `{"model_type":"mixtral","architectures":["MixtralForCausalLM"],"vocab_size":9,"hidden_size":8,"num_hidden_layers":1,"num_local_experts":2,"num_attention_heads":2,"quantization_config":`
	for _, q := range []string{
		`{"quant_method":"gptq","bits":4,"group_size":-1,"dynamic":{"-:.*w1":{},"+:.*w2":{"bits":8}},"modules_in_block_to_quantize":[["q_proj"]]}`,
		`{"quant_method":"fp8","weight_block_size":[4,4],"modules_to_not_convert":["lm_head","model.layers.(0|1)"],"activation_scheme":"static"}`,
		`{"quant_method":"compressed-tensors","format":"pack-quantized","ignore":["re:.*gate"],"config_groups":{"a":{"targets":["Linear"],"weights":{"num_bits":4,"group_size":2,"symmetric":false},"input_activations":{"dynamic":false}}}}`,
		`{"load_in_4bit":true,"bnb_4bit_use_double_quant":true}`, `{"quant_method":"awq","version":"gemv","group_size":32}`, `{"quant_method":"magic"}`,
	} {
		f.Add([]byte(tiny + q + "}"))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := hfconfig.Parse(text)
		if err != nil {
			return
		}
		x, err := hfconfig.Builtin().Expect(c, nil)
		if err != nil {
			require.NotContains(t, err.Error(), "schema of", "a mistake of a built-in schema")
			return
		}
		consistent(t, x)
		if x.Len() < fuzzTensors && x.Quantization == "" { // a checkpoint that is as expected has no fault
			var held []*safetensors.TensorInfo
			for tensor := range x.All(hfconfig.Save) {
				held = append(held, &safetensors.TensorInfo{Name: tensor.Name, DType: safetensors.F8_E5M2, Shape: tensor.Shape})
			}
			require.NoError(t, x.Compare(slices.Values(held), nil).Report.Err())
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"model_type":"llama","architectures":["A",3],"dtype":"bfloat16","quantization_config":{"quant_method":"fp8"},"a":NaN,"a":{"__float__":"Infinity"}}`))
	f.Add([]byte("\xef\xbb\xbf{}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := hfconfig.Parse(text)
		if err != nil {
			require.Nil(t, c)
			return
		}
		c.ModelType()
		c.Architectures()
		c.DType()
		c.Quantization()
		require.NoError(t, c.Report().Err())
	})
}

func FuzzParseArch(f *testing.F) {
	f.Add(everything, `{"required_key": 0}`)
	for _, name := range []string{"llama", "qwen2_5_vl"} {
		text := readFile(f, "arch/"+name+".arch")
		f.Add(strings.Replace(text, "model "+name, "model toy", 1), `{"num_hidden_layers": 2}`)
	}
	f.Fuzz(func(t *testing.T, text, config string) {
		a, err := hfconfig.ParseArch([]byte(text))
		if err != nil {
			var e *hfconfig.SchemaError
			require.ErrorAs(t, err, &e)
			require.Positive(t, e.Line)
			require.Positive(t, e.Column)
			return
		}
		types := a.ModelTypes()
		require.NotEmpty(t, types)
		rest, ok := strings.CutPrefix(config, "{")
		if !ok {
			return
		}
		c, err := hfconfig.Parse([]byte(`{"model_type":"` + types[0] + `",` + rest))
		if err != nil {
			return
		}
		r := hfconfig.Builtin().With(a)
		for _, class := range append(a.Classes(types[0]), "") {
			if x, err := r.Expect(c, &hfconfig.ExpectOptions{Class: class}); err == nil && x.Len() <= fuzzTensors {
				for _, l := range x.Layouts() {
					x.Tensors(l)
				}
				x.Compare(func(func(*safetensors.TensorInfo) bool) {}, nil)
			}
		}
	})
}
