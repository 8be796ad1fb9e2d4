package peft

// lokr follows peft 0.21.2 tuners/lokr/layer.py: the Kronecker product of two
// matrices, of which each may be a product of rank r.
var lokr = method{
	prefix:  "lokr_",
	idle:    []string{"lokr_w1", "lokr_w1_a", "lokr_w2", "lokr_w2_b"},
	takes:   []kind{linear, conv},
	rank:    number{field: "r", absent: 8, least: 1, pattern: "rank_pattern"},
	alpha:   number{field: "alpha", absent: 8, pattern: "alpha_pattern"},
	options: map[string]int{"decompose_both": 0, "decompose_factor": -1, "use_effective_conv2d": 0},
	wants:   lokrWants,
}

func lokrWants(l *layer) []want {
	if !l.known() || l.in > maxFactorized || l.out > maxFactorized {
		return lokrOfFile(l)
	}
	factor := l.c.options["decompose_factor"]
	in1, in2 := factorize(l.in, factor)
	out1, out2 := factorize(l.out, factor)
	r, rank := l.r(), uint64(max(l.rank, 0))
	var wants []want
	if l.flag("decompose_both") && 2*rank < max(out1, in1) {
		wants = append(wants, want{key: "lokr_w1_a", shape: []dim{fixed(out1), r}}, want{key: "lokr_w1_b", shape: []dim{r, fixed(in1)}})
	} else {
		wants = append(wants, want{key: "lokr_w1", shape: []dim{fixed(out1), fixed(in1)}})
	}
	core := l.core("lokr_t2")
	switch {
	case 2*rank >= max(out2, in2):
		w2 := []dim{fixed(out2), fixed(in2)}
		for i := 2; l.kind == conv && i < len(l.shape); i++ {
			w2 = append(w2, fixed(l.shape[i]))
		}
		return append(wants, want{key: "lokr_w2", shape: w2})
	case core != nil:
		return append(wants, want{key: "lokr_t2", shape: core}, want{key: "lokr_w2_a", shape: []dim{r, fixed(out2)}}, want{key: "lokr_w2_b", shape: []dim{r, fixed(in2)}})
	}
	return append(wants, want{key: "lokr_w2_a", shape: []dim{fixed(out2), r}}, want{key: "lokr_w2_b", shape: []dim{r, fixed(in2 * l.kernel())}})
}

// lokrOfFile takes from the file which of the two matrices are products.
func lokrOfFile(l *layer) []want {
	var wants []want
	for _, w := range []string{"lokr_w1", "lokr_w2"} {
		a, b := []dim{{sym: w + " rows"}, l.r()}, []dim{l.r(), {sym: w + " columns"}}
		switch {
		case l.have(w) != nil || l.have(w+"_a") == nil && l.have(w+"_b") == nil:
			wants = append(wants, want{key: w})
		case w == "lokr_w2" && l.have("lokr_t2") != nil:
			wants = append(wants, want{key: "lokr_t2"}, want{key: w + "_a", shape: []dim{l.r(), anySize}}, want{key: w + "_b", shape: b})
		default:
			wants = append(wants, want{key: w + "_a", shape: a}, want{key: w + "_b", shape: b})
		}
	}
	return wants
}
