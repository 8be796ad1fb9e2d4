package hfconfig

import "github.com/safeckpt/safeckpt/safetensors"

// blockFP8 is fine-grained FP8, as DeepSeek-V3 has it: a scale per block of the
// weight. transformers 5.23, integrations/finegrained_fp8.py, FP8Linear and
// FP8Experts; seen on models built with them.
func blockFP8(s settings) (*quantization, error) {
	q := &quantization{}
	if err := q.skipping(s, "modules_to_not_convert"); err != nil {
		return nil, err
	}
	var block [2]uint64 // rows, columns; 0: one scale for all
	list, ok := s.object["weight_block_size"].([]any)
	if _, given := s.object["weight_block_size"]; !given {
		block = [2]uint64{128, 128}
	} else if s.object["weight_block_size"] != nil {
		if !ok || len(list) != 2 {
			return nil, s.bad("weight_block_size", "two whole numbers")
		}
		for i, x := range list {
			v := jsonValue(x)
			if v.kind != kindInt || v.i < 1 || v.i > maxDim {
				return nil, s.bad("weight_block_size", "two whole numbers")
			}
			block[i] = uint64(v.i)
		}
	}
	scales := func(rows, columns uint64, lead ...uint64) []uint64 {
		switch {
		case block[0] > 0:
			return append(lead, ceil(rows, block[0]), ceil(columns, block[1]))
		case len(lead) > 0: // FP8Experts keeps the dimensions
			return append(lead, 1, 1)
		}
		return scalar
	}
	weight := []safetensors.DType{safetensors.F8_E4M3}
	static := s.text("activation_scheme", "dynamic") == "static"
	q.linear = func(m *linearMap) []stored {
		out := []stored{
			{suffix: ".weight", shape: []uint64{m.out, m.in}, dtypes: weight, elements: m.out * m.in},
			{suffix: ".weight_scale_inv", shape: scales(m.out, m.in), dtypes: scaleTypes},
		}
		if static {
			out = append(out, stored{suffix: ".activation_scale", shape: scalar})
		}
		return out
	}
	if s.text("expert_dtype", "fp8") != "fp8" {
		return q, nil
	}
	q.stack = func(e *expertStack) []stored {
		out := []stored{
			{shape: []uint64{e.experts, e.a, e.b}, dtypes: weight, elements: e.experts * e.a * e.b},
			{suffix: "_scale_inv", shape: scales(e.a, e.b, e.experts), dtypes: scaleTypes},
		}
		if static {
			out = append(out, stored{suffix: "_activation_scale", shape: []uint64{e.experts}})
		}
		return out
	}
	return q, nil
}

// scaleTypes are those of scales that may be powers of two.
var scaleTypes = []safetensors.DType{safetensors.F32, safetensors.BF16, safetensors.F16, safetensors.F8_E8M0, safetensors.U8}

// fbgemm is FP8 with a scale per row. transformers 5.23,
// integrations/fbgemm_fp8.py, FbgemmFp8Linear; not seen on a saved model.
func fbgemm(s settings) (*quantization, error) {
	q := &quantization{linear: func(m *linearMap) []stored {
		return []stored{
			{suffix: ".weight", shape: []uint64{m.out, m.in}, dtypes: []safetensors.DType{safetensors.F8_E4M3}, elements: m.out * m.in},
			{suffix: ".weight_scale", shape: []uint64{m.out, 1}},
		}
	}}
	return q, q.skipping(s, "modules_to_not_convert")
}
