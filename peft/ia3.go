package peft

import "strings"

// ia3 follows peft 0.21.2 tuners/ia3/layer.py: one factor for each output of a
// module, or for each input of those that feedforward_modules names.
var ia3 = method{
	prefix: "ia3_",
	takes:  []kind{linear, conv1d, conv},
	read:   func(c *Config) { c.Feedforward = c.names("feedforward_modules") },
	wants: func(l *layer) []want {
		shape := []dim{l.output(), fixed(1)}
		switch {
		case !l.c.Feedforward.Set: // PEFT takes a table by model type
			shape = nil
		case l.kind == conv:
			shape = []dim{fixed(1), l.output()}
			if l.feedforward {
				shape[1] = l.input()
			}
			n := len(l.shape)
			if n == 0 {
				n = len(l.have("ia3_l"))
			}
			for range n - 2 {
				shape = append(shape, fixed(1))
			}
		case l.feedforward:
			shape = []dim{fixed(1), l.input()}
		}
		return []want{{key: "ia3_l", shape: shape}}
	},
}

// feedforward reports whether feedforward_modules selects a module: a list by the
// ends of names, without regard to dots. Follows tuners/ia3/model.py,
// _check_target_module_feedforward.
func (m *matcher) feedforwardModule(path string) bool {
	if m.feedforward.re != nil {
		return m.match(m.feedforward.re, "feedforward_modules", path)
	}
	for _, entry := range m.c.Feedforward.List {
		if strings.HasSuffix(path, entry) {
			return true
		}
	}
	return false
}
