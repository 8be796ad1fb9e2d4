package hfconfig

import "github.com/safeckpt/safeckpt/safetensors"

// bitsAndBytes is what package bitsandbytes 0.50 writes on a CPU: Linear4bit and
// Linear8bitLt.
func bitsAndBytes(s settings) (*quantization, error) {
	q := &quantization{conv1d: true, modules: true}
	if err := q.skipping(s, "llm_int8_skip_modules"); err != nil {
		return nil, err
	}
	if s.flag("load_in_8bit") || s.flag("_load_in_8bit") {
		q.linear = func(m *linearMap) []stored {
			return []stored{
				{suffix: ".weight", shape: []uint64{m.out, m.in}, dtypes: []safetensors.DType{safetensors.I8}, elements: m.out * m.in},
				{suffix: ".SCB", shape: []uint64{m.out}},
				{suffix: ".weight_format", shape: scalar, dtypes: []safetensors.DType{safetensors.U8}, optional: true}, // since 0.37
			}
		}
		return q, nil
	}
	storage, ok := torchStorage[s.text("bnb_4bit_quant_storage", "uint8")]
	if !ok {
		return nil, s.bad("bnb_4bit_quant_storage", "a dtype of torch")
	}
	kind := s.text("bnb_4bit_quant_type", "fp4")
	if kind != "fp4" && kind != "nf4" {
		return nil, s.bad("bnb_4bit_quant_type", `"fp4" or "nf4"`)
	}
	double := s.flag("bnb_4bit_use_double_quant")
	const block, nested = 64, 256
	q.linear = func(m *linearMap) []stored {
		n := m.out * m.in
		blocks := ceil(n, block)
		out := []stored{
			{suffix: ".weight", shape: []uint64{ceil(n, 2*uint64(storage.Bits())/8), 1}, dtypes: []safetensors.DType{storage}, elements: n},
			{suffix: ".weight.absmax", shape: []uint64{blocks}},
			{suffix: ".weight.quant_map", shape: []uint64{16}},
			{suffix: ".weight.quant_state.bitsandbytes__" + kind, dtypes: []safetensors.DType{safetensors.U8}}, // JSON
		}
		if double {
			out[1].dtypes = []safetensors.DType{safetensors.U8}
			out = append(out,
				stored{suffix: ".weight.nested_absmax", shape: []uint64{ceil(blocks, nested)}},
				stored{suffix: ".weight.nested_quant_map", shape: []uint64{256}})
		}
		return out
	}
	return q, nil
}

var torchStorage = map[string]safetensors.DType{
	"uint8": safetensors.U8, "int8": safetensors.I8, "float16": safetensors.F16, "bfloat16": safetensors.BF16, "float32": safetensors.F32, "float64": safetensors.F64,
}
