package peft

// lnTuning follows peft 0.21.2 tuners/ln_tuning/layer.py: copies of whole modules,
// norms as a rule, that are trained and take their place.
var lnTuning = method{
	prefix: "ln_tuning_",
	takes:  []kind{other, linear, conv1d, conv, embedding},
	wants: func(l *layer) []want {
		const copied = "ln_tuning_layers."
		var wants []want
		for _, name := range []string{"weight", "bias", "running_mean", "running_var", "num_batches_tracked"} {
			switch {
			case l.own == nil:
				wants = append(wants, want{key: copied + name, optional: name != "weight"})
			case l.own(name) != nil:
				wants = append(wants, want{key: copied + name, shape: dimsOf(l.own(name))})
			}
		}
		return wants
	},
}

// dimsOf returns a shape as a wanted one, nil for nil.
func dimsOf(shape []uint64) []dim {
	if shape == nil {
		return nil
	}
	out := make([]dim, len(shape))
	for i, n := range shape {
		out[i] = fixed(n)
	}
	return out
}
