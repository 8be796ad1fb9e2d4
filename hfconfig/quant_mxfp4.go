package hfconfig

// mxfp4 is how gpt-oss is published: experts of a layer in one tensor, in blocks
// of 32 four-bit floats with an exponent each. transformers 5.23,
// integrations/mxfp4.py, Mxfp4Quantize and Mxfp4ReverseDeserialize.
func mxfp4(s settings) (*quantization, error) {
	q := &quantization{linear: func(*linearMap) []stored { return nil }}
	q.stack = func(e *expertStack) []stored { // the model holds [experts, in, out]
		const block = 32
		return []stored{
			{suffix: "_blocks", shape: []uint64{e.experts, e.b, e.a / block, block / 2}, dtypes: bytes8, elements: e.experts * e.a * e.b},
			{suffix: "_scales", shape: []uint64{e.experts, e.b, e.a / block}, dtypes: bytes8},
		}
	}
	return q, q.skipping(s, "modules_to_not_convert")
}

// bitnet packs four weights of -1, 0 and 1 into a byte. transformers 5.23,
// integrations/bitnet.py, BitLinear; AutoBitLinear keeps the weights as they are.
func bitnet(s settings) (*quantization, error) {
	q := &quantization{}
	if s.text("linear_class", "bitlinear") != "bitlinear" {
		return q, nil
	}
	q.linear = func(m *linearMap) []stored {
		return []stored{
			{suffix: ".weight", shape: []uint64{m.out / 4, m.in}, dtypes: bytes8, elements: m.out * m.in},
			{suffix: ".weight_scale", shape: []uint64{1}},
			{suffix: ".rms_norm.weight", shape: []uint64{m.in}, optional: !s.flag("use_rms_norm")},
		}
	}
	return q, q.skipping(s, "modules_to_not_convert")
}
