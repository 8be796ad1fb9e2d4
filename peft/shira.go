package peft

// shira follows peft 0.21.2 tuners/shira/layer.py: changes of single weights, as
// many as a LoRA of rank r would have, and where they are.
var shira = method{
	prefix: "shira_",
	idle:   []string{"shira_weight"},
	takes:  []kind{linear},
	rank:   number{field: "r", absent: 32, least: 1},
	wants: func(l *layer) []want {
		n := dim{sym: "n"}
		if l.known() && l.rank > 0 {
			n = fixed(uint64(l.rank) * (l.in + l.out))
		}
		return []want{{key: "shira_indices", shape: []dim{fixed(2), n}}, {key: "shira_weight", shape: []dim{n}}}
	},
}
