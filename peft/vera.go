package peft

// vera follows peft 0.21.2 tuners/vera: two vectors for each module, between two
// matrices that all modules share and that are as wide as the widest of them.
var vera = method{
	prefix:  "vera_",
	idle:    []string{"vera_lambda_b"},
	takes:   []kind{linear, conv1d},
	rank:    number{field: "r", absent: 256, least: 1},
	options: map[string]int{"save_projection": 1},
	wants: func(l *layer) []want {
		return []want{{key: "vera_lambda_b", shape: []dim{l.output()}}, {key: "vera_lambda_d", shape: []dim{l.r()}}}
	},
	shared: func(c *Config, layers []layer) []want {
		in, out := widest(layers)
		r := dim{n: uint64(max(c.Rank, 0)), rank: true}
		return projections(c, want{key: "vera_A", shape: []dim{r, size(in, "*")}}, want{key: "vera_B", shape: []dim{size(out, "*"), r}})
	},
}

// widest returns the largest input and output of the modules, 0 where one of them
// is not known.
func widest(layers []layer) (in, out uint64) {
	for _, l := range layers {
		if !l.known() {
			return 0, 0
		}
		in, out = max(in, l.in), max(out, l.out)
	}
	return in, out
}

// projections says of random matrices that all modules share whether the file
// must hold them.
func projections(c *Config, wants ...want) []want {
	for i := range wants {
		wants[i].optional = c.options["save_projection"] == 0
		wants[i].lack = "save_projection is true, so the random matrices are part of the file; PEFT refuses to load it without them"
	}
	return wants
}
