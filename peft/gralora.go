package peft

// gralora follows peft 0.21.2 tuners/gralora/layer.py: the weight cut into k by k
// blocks, each with a LoRA of its own, beside one for the whole if hybrid_r says
// so.
var gralora = method{
	prefix:  "gralora_",
	idle:    []string{"gralora_B"},
	takes:   []kind{linear, conv1d},
	rank:    number{field: "r", absent: 32, least: 1},
	alpha:   number{field: "alpha", absent: 64},
	options: map[string]int{"gralora_k": 2, "hybrid_r": 0},
	wants: func(l *layer) []want {
		k, whole := l.option("gralora_k"), l.option("hybrid_r")
		wants := []want{
			{key: "gralora_A", shape: []dim{fixed(k), over(l.in, k, "in/k"), l.r()}},
			{key: "gralora_B", shape: []dim{fixed(k), l.r(), over(l.out, k, "out/k")}},
		}
		if whole > 0 {
			wants = append(wants, want{key: "gralora_A_general.weight", shape: []dim{fixed(whole), l.input()}}, want{key: "gralora_B_general.weight", shape: []dim{l.output(), fixed(whole)}})
		}
		return wants
	},
}
