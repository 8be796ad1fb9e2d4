package peft

// hira follows peft 0.21.2 tuners/hira/layer.py: A and B as in LoRA, whose
// product is multiplied with the weight element by element. That version does not
// look at rank_pattern.
var hira = method{
	prefix: "hira_",
	idle:   []string{"hira_B", "hira_embedding_A"},
	takes:  []kind{linear, conv1d, conv, embedding},
	rank:   number{field: "r", absent: 32, least: 1},
	wants: func(l *layer) []want {
		switch l.kind {
		case embedding:
			return l.pair("hira_embedding_A", "hira_embedding_B")
		case conv:
			a, b := []dim{l.r(), l.input()}, []dim{l.output(), l.r()}
			for i := 2; i < max(len(l.shape), len(l.have("hira_A"))); i++ {
				kernel := anySize
				if i < len(l.shape) {
					kernel = fixed(l.shape[i])
				}
				a, b = append(a, kernel), append(b, fixed(1))
			}
			return []want{{key: "hira_A", shape: a}, {key: "hira_B", shape: b}}
		}
		return l.pair("hira_A", "hira_B")
	},
}
