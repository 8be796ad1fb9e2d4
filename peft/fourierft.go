package peft

// fourierFT follows peft 0.21.2 tuners/fourierft: n_frequency coefficients for
// each module, at places that follow from a seed.
var fourierFT = method{
	prefix: "fourierft_",
	idle:   []string{"fourierft_spectrum"},
	takes:  []kind{linear, conv1d},
	rank:   number{field: "n_frequency", absent: 1000, least: 1, pattern: "n_frequency_pattern", form: dottedForm},
	wants:  func(l *layer) []want { return []want{{key: "fourierft_spectrum", shape: []dim{l.r()}}} },
}

// dottedForm is how some methods match the keys of their patterns: at the end of
// a module's name, after a dot.
const dottedForm = `.*\.%s$`
