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
