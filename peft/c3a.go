package peft

// c3a follows peft 0.21.2 tuners/c3a: a circulant matrix for each block of the
// weight, given by its first column.
var c3a = method{
	prefix: "c3a_",
	idle:   []string{"c3a_kernel"},
	takes:  []kind{linear},
	rank:   number{field: "block_size", absent: 256, least: 1, pattern: "block_size_pattern", form: dottedForm},
	wants: func(l *layer) []want {
		block := uint64(max(l.rank, 0))
		return []want{{key: "c3a_kernel", shape: []dim{over(l.out, block, "out/block"), over(l.in, block, "in/block"), l.r()}}}
	},
}
