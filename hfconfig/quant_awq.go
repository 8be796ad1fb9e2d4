package hfconfig

import "github.com/safeckpt/safeckpt/safetensors"

// awq is what AutoAWQ 0.2.9 writes: WQLinear_GEMM, WQLinear_GEMV and
// WQLinear_GEMVFast.
func awq(s settings) (*quantization, error) {
	p, err := newPacking(s)
	if err != nil {
		return nil, err
	}
	q := &quantization{}
	if err := q.skipping(s, "modules_to_not_convert"); err != nil {
		return nil, err
	}
	q.tails = true // add_default_skips
	per := 32 / p.bits
	switch s.text("version", s.text("format", "gemm")) {
	case "gemm":
		q.linear = func(m *linearMap) []stored {
			return []stored{
				{suffix: ".qweight", shape: []uint64{m.in, m.out / per}, dtypes: int32s, elements: m.out * m.in},
				{suffix: ".qzeros", shape: []uint64{p.groups(m.in), m.out / per}, dtypes: int32s},
				{suffix: ".scales", shape: []uint64{p.groups(m.in), m.out}},
			}
		}
	case "gemv":
		q.linear = func(m *linearMap) []stored {
			zeros := p.zerosWidth(m.in, per)
			return []stored{
				{suffix: ".qweight", shape: []uint64{m.out, m.in / per}, dtypes: int32s, elements: m.out * m.in},
				{suffix: ".qzeros", shape: []uint64{m.out, zeros}, dtypes: int32s},
				{suffix: ".scales", shape: []uint64{m.out, zeros * per}},
			}
		}
	case "gemv_fast":
		q.linear = func(m *linearMap) []stored {
			rows := p.zerosWidth(m.in, 8) * 8
			return []stored{
				{suffix: ".qweight", shape: []uint64{m.out / 4, m.in / 4 * 4}, dtypes: []safetensors.DType{safetensors.I16}, elements: m.out * m.in},
				{suffix: ".qzeros", shape: []uint64{rows, m.out}},
				{suffix: ".scales", shape: []uint64{rows, m.out}},
			}
		}
	}
	return q, nil // else laid out for a kernel
}

// zerosWidth is awq/modules/linear/gemv.py, calculate_zeros_width.
func (p packing) zerosWidth(in, per uint64) uint64 {
	multiple := uint64(1)
	switch {
	case p.group == 64:
		multiple = 2
	case p.group > 0 && p.group < 64:
		multiple = 4
	}
	groups := uint64(1)
	if p.group > 0 {
		groups = in / p.group
	}
	return ceil(ceil(groups, per), multiple) * multiple
}
