package peft

import "github.com/safeckpt/safeckpt/diag"

// targets holds every module that target_modules selects against the file.
func (k *check) targets() {
	for i := range k.view.modules {
		m := &k.view.modules[i]
		if m.kind == parameter {
			continue
		}
		entry, ok := k.targetOf(m)
		if !ok {
			continue
		}
		if !k.method.accepts(m.kind) {
			k.unsupported(m.path, entry)
			continue
		}
		k.module(*m, m.path, entry)
	}
	k.targetedParents()
}

// targetOf returns the entry that selects a module of the view.
func (k *check) targetOf(m *module) (string, bool) {
	if !k.c.Targets.allLinear() || !k.c.Targets.isRegex() {
		entry, ok := k.match.target(m.path)
		if !ok {
			entry, ok = k.tiedTarget(m)
		}
		return entry, ok
	}
	last := lastPart(m.path)
	head := outputEmbeddings[last] || k.c.TaskType == "SEQ_CLS" && (last == "score" || last == "classifier")
	isLinear := m.kind == linear || m.kind == conv1d || m.kind == matrix && k.modules[m.path] != nil
	return k.c.Targets.Regex, isLinear && (!head || k.base == nil) && !k.match.excluded(m.path)
}

// tiedTarget returns the entry that selects the input embedding, for an output
// embedding that has tensors in the file: with ensure_weight_tying PEFT adapts both
// and names one. Follows peft 0.21.2 tuners/tuners_utils.py, inject_adapter.
func (k *check) tiedTarget(m *module) (string, bool) {
	if !k.c.TieWeights || !outputEmbeddings[lastPart(m.path)] || len(k.modules[m.path]) == 0 {
		return "", false
	}
	for i := range k.view.modules {
		if e := &k.view.modules[i]; inputEmbeddings[lastPart(e.path)] {
			if entry, ok := k.match.target(e.path); ok {
				return entry, true
			}
		}
	}
	return "", false
}

// targetedParents finds modules that hold other modules and are selected too.
// PEFT raises an error for them.
func (k *check) targetedParents() {
	if k.base == nil || !k.base.certain || k.view != k.base.views[0] || k.c.Targets.allLinear() || k.method.accepts(other) {
		return
	}
	for _, path := range sortedKeys(k.view.parents) {
		if k.view.find(path) != nil {
			continue
		}
		if entry, ok := k.match.target(path); ok {
			k.unsupported(path, entry)
		}
	}
}

func (k *check) unsupported(path, entry string) {
	if !k.base.certain {
		return
	}
	p := diag.New(diag.AdapterUnsupported, "target_modules selects %s (by %s), which is no layer that %s can adapt", diag.Name(path), diag.Name(entry), k.c.Type)
	p.File, p.Got = ConfigFile, diag.Name(path)
	p.Cause = "PEFT raises an error for it: the entry is too wide, or the adapter is of another model"
	p.Fix = "name only linear, convolution or embedding layers in target_modules, or add it to exclude_modules"
	k.res.Report.Add(p)
}
