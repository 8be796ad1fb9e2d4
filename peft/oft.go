package peft

// oft follows peft 0.21.2 tuners/oft/layer.py: a rotation in blocks of the input,
// of which the upper triangles are stored.
var oft = method{
	prefix:  "oft_",
	idle:    []string{"oft_R.weight", "oft_embedding_R.weight"},
	takes:   []kind{linear, conv, embedding},
	rank:    number{field: "r"},
	options: map[string]int{"oft_block_size": 32, "block_share": 0},
	read: func(c *Config) {
		if (c.Rank != 0) == (c.options["oft_block_size"] != 0) {
			c.invalid("oft_block_size", "not 0 where r is 0, and 0 where it is not", show(c.value("oft_block_size")), "set the one of r and oft_block_size that the adapter was not trained with to 0")
		}
	},
	wants: func(l *layer) []want {
		key, in := "oft_R.weight", l.in*l.square()
		if l.kind == embedding {
			key, in = "oft_embedding_R.weight", l.out
		}
		blocks, triangle := dim{sym: "blocks"}, dim{sym: "triangle"}
		if in > 0 && in <= maxFactorized {
			n, size := uint64(max(l.rank, 0)), l.option("oft_block_size")
			if n > 0 {
				n = divisor(in, n)
				size = in / n
			} else if size = divisor(in, size); size > 0 {
				n = in / size
			}
			blocks, triangle = fixed(n), fixed(size*(size-1)/2)
		}
		if l.flag("block_share") {
			blocks = fixed(1)
		}
		return []want{{key: key, shape: []dim{blocks, triangle}, hollow: triangle.sym != ""}}
	},
}

// square is what a convolution's kernel counts for in methods that take it for
// square.
func (l *layer) square() uint64 {
	if l.kind == conv && len(l.shape) > 2 {
		return l.shape[2] * l.shape[2]
	}
	return 1
}
