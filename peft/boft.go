package peft

// boft follows peft 0.21.2 tuners/boft/layer.py: butterfly factors of block
// rotations of the input, and a scale for each output. Without its CUDA kernel
// PEFT makes one factor, whatever the config says.
var boft = method{
	prefix:  "boft_",
	takes:   []kind{linear, conv},
	options: map[string]int{"boft_block_size": 4, "boft_block_num": 0, "boft_n_butterfly_factor": 1},
	read: func(c *Config) {
		if (c.options["boft_block_size"] != 0) == (c.options["boft_block_num"] != 0) {
			c.invalid("boft_block_size", "not 0 where boft_block_num is 0, and 0 where it is not", show(c.value("boft_block_size")), "set the one of boft_block_size and boft_block_num that the adapter was not trained with to 0")
		}
	},
	wants: func(l *layer) []want {
		blocks, size := dim{sym: "blocks"}, dim{sym: "block"}
		switch in, n, b := l.in*l.square(), l.option("boft_block_num"), l.option("boft_block_size"); {
		case n > 0:
			blocks, size = fixed(n), over(in, n, "block")
		case b > 0:
			blocks, size = over(in, b, "blocks"), fixed(b)
		}
		factors := fixed(1)
		if l.option("boft_n_butterfly_factor") > 1 {
			factors = dim{sym: "factors"}
		}
		scale := []dim{l.output(), fixed(1)}
		if have := l.have("boft_s"); l.shape == nil && len(have) == 2 && have[0] == 1 || l.shape != nil && l.kind == conv {
			scale = []dim{fixed(1), l.output()}
		}
		return []want{{key: "boft_R", shape: []dim{factors, blocks, size, size}}, {key: "boft_s", shape: scale}}
	},
}
