package peft

// hra follows peft 0.21.2 tuners/hra/layer.py: r Householder reflections of the
// input.
var hra = method{
	prefix: "hra_",
	takes:  []kind{linear, conv},
	rank:   number{field: "r", absent: 8, least: 1},
	wants: func(l *layer) []want {
		return []want{{key: "hra_u", shape: []dim{size(l.in*l.square(), "in"), l.r()}}}
	},
}
