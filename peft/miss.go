package peft

// miss follows peft 0.21.2 tuners/miss/layer.py: one block of r rows that is
// repeated over the input; init_weights chooses between three forms of it.
var miss = method{
	prefix:  "miss_",
	idle:    []string{"miss_block"},
	takes:   []kind{linear},
	rank:    number{field: "r", absent: 64, least: 1},
	options: map[string]int{"mini_r": 1},
	read: func(c *Config) {
		if form, ok := c.value("init_weights").(string); ok {
			c.Init = form
		}
	},
	wants: func(l *layer) []want {
		shape := []dim{l.r(), l.output()}
		switch l.c.Init {
		case "bat":
			shape = []dim{over(l.out, uint64(max(l.rank, 0)), "out/r"), l.r(), l.r()}
		case "mini":
			shape = []dim{l.r(), fixed(l.option("mini_r"))}
		}
		return []want{{key: "miss_block", shape: shape}}
	},
}
