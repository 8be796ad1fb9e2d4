package peft

import "slices"

// randlora follows peft 0.21.2 tuners/randlora: factors for the columns and the
// rows of random matrices that all modules share; each module may hold a copy.
var randlora = method{
	prefix:  "randlora_",
	idle:    []string{"randlora_lambda"},
	takes:   []kind{linear, conv1d},
	rank:    number{field: "r", absent: 32, least: 1},
	options: map[string]int{"save_projection": 1},
	targets: func(k *check) {
		k.targets()
		for _, l := range k.adapted {
			for key, whole := range k.shared {
				if e := k.modules[l.path][key]; e != nil && !slices.Equal(e.info.Shape, whole.info.Shape) {
					k.wrongShape(&l.module, mismatch{e, dimsOf(whole.info.Shape)})
				}
			}
		}
	},
	wants: func(l *layer) []want {
		bases, narrow := dim{sym: "bases"}, dim{sym: "narrow"}
		if l.known() {
			n := min(l.in, l.out)
			bases, narrow = basesOf(n, l.rank), fixed(n)
		}
		return []want{
			{key: "randlora_lambda", shape: []dim{l.r(), bases}}, {key: "randlora_gamma", shape: []dim{bases, narrow}},
			{key: "randlora_A", shape: []dim{l.r(), fixed(1), anySize}, optional: true},
			{key: "randlora_B", shape: []dim{anySize, anySize, l.r()}, optional: true},
		}
	},
	shared: func(c *Config, layers []layer) []want {
		r := dim{n: uint64(max(c.Rank, 0)), rank: true}
		wide, narrow, bases := anySize, anySize, anySize
		if in, out := widest(layers); in > 0 {
			n := min(in, out)
			wide, narrow, bases = fixed(max(in, out)), fixed(n), basesOf(n, c.Rank)
		}
		return projections(c, want{key: "randlora_A", shape: []dim{r, fixed(1), narrow}}, want{key: "randlora_B", shape: []dim{wide, bases, r}})
	},
}

// basesOf returns how many products of rank r it takes to reach n.
func basesOf(n uint64, rank int) dim {
	if rank <= 0 {
		return anySize
	}
	return fixed((n + uint64(rank) - 1) / uint64(rank))
}
