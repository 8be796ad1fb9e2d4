package peft

// vblora follows peft 0.21.2 tuners/vblora: A and B are put together from the
// vectors of one bank; stored are the logits that choose them, or only the best.
var vblora = method{
	prefix:  "vblora_",
	takes:   []kind{linear, conv1d},
	rank:    number{field: "r", absent: 4, least: 1},
	options: map[string]int{"num_vectors": 256, "vector_length": 256, "topk": 2, "save_only_topk_weights": 0},
	wants: func(l *layer) []want {
		length, r := l.option("vector_length"), l.r()
		in, out := over(l.in, length, "in/length"), over(l.out, length, "out/length")
		var wants []want
		for _, f := range []struct {
			key   string
			shape []dim
		}{{"vblora_logits_A", []dim{r, in}}, {"vblora_logits_B", []dim{out, r}}} {
			with := func(n uint64) []dim { return []dim{f.shape[0], f.shape[1], fixed(n)} }
			if !l.flag("save_only_topk_weights") {
				wants = append(wants, want{key: f.key, shape: with(l.option("num_vectors"))})
				continue
			}
			topk := max(l.option("topk"), 1)
			wants = append(wants, want{key: f.key + "_topk_indices", shape: with(topk)}, want{key: f.key + "_topk_weights", shape: with(topk - 1)})
		}
		return wants
	},
	shared: func(c *Config, _ []layer) []want {
		return []want{{key: "vblora_vector_bank", shape: []dim{fixed(uint64(c.options["num_vectors"])), fixed(uint64(c.options["vector_length"]))},
			lack: "the vectors that all modules are put together from are lost"}}
	},
}
