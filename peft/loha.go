package peft

// loha follows peft 0.21.2 tuners/loha/layer.py: the Hadamard product of two
// products, for a convolution cut into a core and two matrices if the config says
// so.
var loha = method{
	prefix:  "hada_",
	idle:    []string{"hada_w2_b"},
	takes:   []kind{linear, conv},
	rank:    number{field: "r", absent: 8, least: 1, pattern: "rank_pattern"},
	alpha:   number{field: "alpha", absent: 8, pattern: "alpha_pattern"},
	options: map[string]int{"use_effective_conv2d": 0},
	wants: func(l *layer) []want {
		r := l.r()
		if core := l.core("hada_t1"); core != nil {
			a, b := []dim{r, l.output()}, []dim{r, l.input()}
			return []want{{key: "hada_t1", shape: core}, {key: "hada_w1_a", shape: a}, {key: "hada_w1_b", shape: b},
				{key: "hada_t2", shape: core}, {key: "hada_w2_a", shape: a}, {key: "hada_w2_b", shape: b}}
		}
		a, b := []dim{l.output(), r}, []dim{r, l.folded()}
		return []want{{key: "hada_w1_a", shape: a}, {key: "hada_w1_b", shape: b}, {key: "hada_w2_a", shape: a}, {key: "hada_w2_b", shape: b}}
	},
}

// core returns the shape of the core tensor that use_effective_conv2d gives to
// convolutions of one and two dimensions with a kernel above 1, else nil. Without
// a base the file shows whether there is one.
func (l *layer) core(key string) []dim {
	switch {
	case !l.flag("use_effective_conv2d") || l.kind != conv:
		return nil
	case l.shape == nil && l.have(key) != nil:
		return []dim{l.r(), l.r(), anySize, anySize}
	case len(l.shape) == 3 && l.shape[2] != 1:
		return []dim{l.r(), l.r(), fixed(l.shape[2]), fixed(1)}
	case len(l.shape) == 4 && (l.shape[2] != 1 || l.shape[3] != 1):
		return []dim{l.r(), l.r(), fixed(l.shape[2]), fixed(l.shape[3])}
	}
	return nil
}
