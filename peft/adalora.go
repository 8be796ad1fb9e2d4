package peft

import "strings"

// adalora follows peft 0.21.2 tuners/adalora: three factors, of which training
// keeps as many ranks as rank_pattern says for each module; it may keep none.
var adalora = method{
	prefix: "lora_",
	idle:   []string{"lora_E"},
	takes:  []kind{linear, conv1d, conv},
	rank:   number{field: "init_r", absent: 12},
	read:   readAdaLoRA,
	wants: func(l *layer) []want {
		r := dim{n: uint64(max(l.rank, 0)), rank: true}
		return []want{{key: "lora_A", shape: []dim{r, l.folded()}}, {key: "lora_B", shape: []dim{l.output(), r}}, {key: "lora_E", shape: []dim{r, fixed(1)}}}
	},
}

// readAdaLoRA reads rank_pattern, which is an object of lists: which of the ranks
// of a module's lora_E were kept.
func readAdaLoRA(c *Config) {
	const field = "rank_pattern"
	if v, set := c.value("total_step"), c.has("total_step"); set {
		if n, ok := integer(v); !ok || n <= 0 {
			c.invalid("total_step", "a positive integer", show(v), "set total_step to the number of steps of the training")
		}
	}
	v := c.value(field)
	if v == nil {
		return
	}
	kept, ok := v.(map[string]any)
	if !ok {
		c.wrongType(field, "an object of lists of truth values", v)
		return
	}
	c.ranks = make(map[string]int, len(kept))
	for _, name := range sortedKeys(kept) {
		list, ok := kept[name].([]any)
		if !ok {
			c.wrongType(field, "an object of lists of truth values", kept[name])
			return
		}
		n := 0
		for _, x := range list {
			if x == true {
				n++
			}
		}
		c.ranks[adaModule(name)] = n
	}
}

// adaModule returns the module of a name such as "model.layers.0.q_proj.lora_E".
func adaModule(name string) string {
	if i := strings.LastIndex(name, ".lora_"); i >= 0 {
		return name[:i]
	}
	return name
}
