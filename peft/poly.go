package peft

// poly follows peft 0.21.2 tuners/poly: a set of LoRAs, the skills, that a router
// mixes for each task and each slice of the features.
var poly = method{
	prefix:  "poly_",
	idle:    []string{"poly_lora_B"},
	takes:   []kind{linear},
	rank:    number{field: "r", absent: 8, least: 1},
	options: map[string]int{"n_tasks": 1, "n_skills": 4, "n_splits": 1},
	wants: func(l *layer) []want {
		splits, skills := l.option("n_splits"), l.option("n_skills")
		return []want{
			{key: "poly_lora_A", shape: []dim{fixed(splits), fixed(skills), over(l.in, splits, "in/splits"), l.r()}},
			{key: "poly_lora_B", shape: []dim{fixed(splits), fixed(skills), l.r(), over(l.out, splits, "out/splits")}},
			{key: "poly_router.module_logits", shape: []dim{fixed(l.option("n_tasks")), fixed(splits * skills)}},
		}
	},
}
