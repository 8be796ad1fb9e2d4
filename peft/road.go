package peft

import "github.com/safeckpt/safeckpt/diag"

// road follows peft 0.21.2 tuners/road/layer.py: angles and scales of rotations in
// two dimensions of the output, once, twice or four times for each pair.
var road = method{
	prefix: "road_",
	takes:  []kind{linear},
	read: func(c *Config) {
		const field = "variant"
		variant := c.str(field, "road_1")
		halves, ok := map[string]int{"road_1": 1, "road_2": 2, "road_4": 4}[variant]
		if !ok {
			c.invalid(field, "road_1, road_2 or road_4", diag.Name(variant), "correct variant in adapter_config.json")
		}
		c.options[field] = halves
	},
	wants: func(l *layer) []want {
		n := over(l.out*l.option("variant"), 2, "out")
		return []want{{key: "road_theta", shape: []dim{n}}, {key: "road_alpha", shape: []dim{n}}}
	},
}
