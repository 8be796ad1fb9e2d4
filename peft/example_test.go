package peft_test

import (
	"fmt"
	"os"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/peft"
	"github.com/safeckpt/safeckpt/safetensors"
)

// The factors of one module do not belong together.
func ExampleCheck() {
	config, err := peft.ParseConfig([]byte(`{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	tensor := func(name string, shape ...uint64) safetensors.TensorInfo {
		return safetensors.TensorInfo{Name: "base_model.model.model.layers.0.self_attn." + name, DType: safetensors.F32, Shape: shape}
	}
	adapter := &peft.Adapter{Config: config, Tensors: []safetensors.TensorInfo{
		tensor("q_proj.lora_A.weight", 4, 64), tensor("q_proj.lora_B.weight", 64, 8),
	}}

	text, err := os.ReadFile("testdata/bases/llama_wide/config.json")
	if err != nil {
		fmt.Println(err)
		return
	}
	model, err := hfconfig.Parse(text)
	if err != nil {
		fmt.Println(err)
		return
	}
	expectation, err := hfconfig.Builtin().Expect(model, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	r := peft.Check(adapter, peft.NewBase(expectation))
	fmt.Println(r.Summary())
	for _, p := range r.Report.Problems() {
		if p.Severity == diag.Error {
			fmt.Println(p.Code.Error())
			fmt.Println(p.Message)
			fmt.Println("fix:", p.Fix)
		}
	}
	// Output:
	// 0 of 1 targeted modules have their tensors, 0 tensors unexplained
	// A031: other rank than in the config
	// lora_B.weight of model.layers.0.self_attn.q_proj has rank 8, r is 4 in the config
	// fix: set the rank of this module to 8 in adapter_config.json, or take the file that belongs to the config
}

func ExampleParseConfig() {
	c, err := peft.ParseConfig([]byte(`{"peft_type": "LORA", "r": 8, "target_modules": "all-linear"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Type, c.Rank, c.Targets)
	fmt.Println(c.Report().Problems()[0].Message)
	// Output:
	// LORA 8 "all-linear"
	// lora_alpha is absent: PEFT takes its default of 8 without a word
}
