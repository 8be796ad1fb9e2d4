package hfconfig

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
