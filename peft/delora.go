package peft

import "strings"

// delora follows peft 0.21.2 tuners/delora/layer.py: A and B of which each rank is
// normalized, one strength, and the norms of the base's columns.
var delora = method{
	prefix: "delora_",
	idle:   []string{"delora_B"},
	takes:  []kind{linear},
	// modules_to_save may wrap the norms: it goes by the ends of names.
	extra: func(_ *Config, key string) bool { return strings.HasPrefix(key, "delora_w_norm.") },
	rank:  number{field: "r", absent: 8, least: 1, pattern: "rank_pattern"},
	wants: func(l *layer) []want {
		return append(l.pair("delora_A", "delora_B"), want{key: "delora_lambda", shape: []dim{fixed(1)}}, want{key: "delora_w_norm", shape: []dim{l.input()}})
	},
}
