package peft

// waveFT follows peft 0.21.2 tuners/waveft: n_frequency wavelet coefficients for
// each module, or a part of them in proportion to its size.
var waveFT = method{
	prefix:  "waveft_",
	idle:    []string{"waveft_spectrum"},
	takes:   []kind{linear, conv1d},
	rank:    number{field: "n_frequency", absent: 2592, least: 1, pattern: "n_frequency_pattern"},
	options: map[string]int{"proportional_parameters": 0},
	wants: func(l *layer) []want {
		if l.flag("proportional_parameters") {
			return []want{{key: "waveft_spectrum", shape: []dim{anySize}}}
		}
		return []want{{key: "waveft_spectrum", shape: []dim{l.r()}}}
	},
}
