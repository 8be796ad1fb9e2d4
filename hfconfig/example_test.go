package hfconfig_test

import (
	"fmt"
	"log"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/safetensors"
)

func readFile(tb testing.TB, name string) string {
	text, err := os.ReadFile(name)
	require.NoError(tb, err)
	return string(text)
}

// What must a checkpoint of this config hold?
func ExampleRegistry_Expect() {
	config, err := hfconfig.Parse([]byte(`{
		"model_type": "llama", "architectures": ["LlamaForCausalLM"],
		"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
		"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000, "tie_word_embeddings": true
	}`))
	if err != nil {
		log.Fatal(err)
	}
	x, err := hfconfig.Builtin().Expect(config, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(x.Architecture, x.Len(), "tensors,", x.Parameters(), "parameters")
	for t := range x.All(hfconfig.Save) {
		fmt.Println(t.Name, t.Shape)
	}
	fmt.Println("tied:", x.Tied())
	// Output:
	// LlamaForCausalLM 11 tensors, 101056 parameters
	// model.embed_tokens.weight [1000 64]
	// model.layers.0.self_attn.q_proj.weight [64 64]
	// model.layers.0.self_attn.k_proj.weight [32 64]
	// model.layers.0.self_attn.v_proj.weight [32 64]
	// model.layers.0.self_attn.o_proj.weight [64 64]
	// model.layers.0.mlp.gate_proj.weight [128 64]
	// model.layers.0.mlp.up_proj.weight [128 64]
	// model.layers.0.mlp.down_proj.weight [64 128]
	// model.layers.0.input_layernorm.weight [64]
	// model.layers.0.post_attention_layernorm.weight [64]
	// model.norm.weight [64]
	// tied: [[model.embed_tokens.weight lm_head.weight]]
}

// A model with code of its own (trust_remote_code) is described in a few lines.
func ExampleParseArch() {
	arch, err := hfconfig.ParseArch([]byte(`
model my_model prefix model

config
  hidden_size = 64
  num_layers = 2
  use_bias = false

class MyModelForCausalLM
  for i < num_layers: model.layers.{i}:
    mixer linear [hidden_size, hidden_size] bias(use_bias)
    if i % 2 == 1: norm norm [hidden_size]
`))
	if err != nil {
		log.Fatal(err)
	}
	config, err := hfconfig.Parse([]byte(`{"model_type": "my_model", "architectures": ["MyModelForCausalLM"], "num_layers": 2}`))
	if err != nil {
		log.Fatal(err)
	}
	x, err := hfconfig.Builtin().With(arch).Expect(config, nil)
	if err != nil {
		log.Fatal(err)
	}
	for t := range x.All(hfconfig.Save) {
		fmt.Println(t.Name, t.Shape)
	}
	// Output:
	// model.layers.0.mixer.weight [64 64]
	// model.layers.1.mixer.weight [64 64]
	// model.layers.1.norm.weight [64]
}

// Hold the header of a checkpoint against its config.
func ExampleExpectation_Compare() {
	config, err := hfconfig.Parse([]byte(`{
		"model_type": "llama", "architectures": ["LlamaForSequenceClassification"],
		"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 0, "num_attention_heads": 2, "vocab_size": 10
	}`))
	if err != nil {
		log.Fatal(err)
	}
	x, err := hfconfig.Builtin().Expect(config, nil)
	if err != nil {
		log.Fatal(err)
	}
	result := x.Compare(slices.Values([]*safetensors.TensorInfo{ // of safetensors.Header.Tensors
		{Name: "model.embed_tokens.weight", DType: safetensors.F32, Shape: []uint64{12, 8}},
		{Name: "model.norm.weight", DType: safetensors.F32, Shape: []uint64{8}},
	}), nil)
	for _, p := range result.Report.Problems() {
		fmt.Println(p.Message)
		fmt.Println("  why:", p.Cause)
	}
	// Output:
	// score.weight is missing: want [2,8]
	//   why: the checkpoint holds the base model without the head of LlamaForSequenceClassification (score)
	// model.embed_tokens.weight is [12,8], config.json leads to [10,8]
	//   why: the vocabulary was grown to 12 after this config.json, which says 10, was written
}

func ExampleExpectation_Modules() {
	config, err := hfconfig.Parse([]byte(`{"model_type": "qwen2_5_vl", "architectures": ["Qwen2_5_VLForConditionalGeneration"]}`))
	if err != nil {
		log.Fatal(err)
	}
	x, err := hfconfig.Builtin().Expect(config, nil)
	if err != nil {
		log.Fatal(err)
	}
	for m := range x.Modules() {
		if m.Path == "model.language_model.layers.0.self_attn.k_proj" {
			fmt.Println(m.Kind, m.In, "->", m.Out, "bias:", m.Bias, "on disk:", m.Name(hfconfig.Save))
		}
	}
	// Output:
	// linear 8192 -> 1024 bias: true on disk: model.layers.0.self_attn.k_proj
}
