package peft

import (
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// savedModules holds the modules that modules_to_save keeps whole against the
// file. Follows peft 0.21.2 utils/other.py, _set_trainable: a module is meant if
// its name ends with the entry, with or without a dot before it.
func (k *check) savedModules() {
	names := make(map[string]*entry)
	for _, e := range k.entries {
		if e.key == "" && !k.used[e] {
			names[e.name] = e
		}
	}
	for i, saved := range k.c.ModulesToSave {
		if saved == "" || slices.Contains(k.c.ModulesToSave[:i], saved) { // PEFT repeats the head of a task
			continue
		}
		found := k.base != nil && k.savedOfBase(saved, names)
		if found && k.base.certain {
			continue
		}
		for name, e := range names {
			for i := strings.LastIndexByte(name, '.'); i > 0; i = strings.LastIndexByte(name[:i], '.') {
				if strings.HasSuffix(name[:i], saved) {
					k.used[e], found = true, true
				}
			}
		}
		if !found {
			k.notSaved(saved)
		}
	}
}

// savedOfBase reports whether the base has modules of that name, and holds them
// against the file.
func (k *check) savedOfBase(saved string, names map[string]*entry) bool {
	known := false
	for _, name := range sortedKeys(k.view.tensors) {
		var path string
		for i := strings.LastIndexByte(name, '.'); i > 0; i = strings.LastIndexByte(name[:i], '.') {
			if strings.HasSuffix(name[:i], saved) {
				path = name[:i]
			}
		}
		if path == "" {
			continue
		}
		known = true
		shape := k.view.tensors[name]
		e := names[name]
		if e == nil {
			if k.c.TieWeights && outputEmbeddings[lastPart(path)] {
				continue
			}
			p := problem(diag.AdapterTensorMissing, nil, "%s is missing: modules_to_save names %s; want %s", diag.Name(name), diag.Name(saved), shapeString(shape))
			p.Tensor = modelPrefix + name
			p.Want, p.Got = shapeString(shape), "absent"
			p.Cause = "the module was trained whole, and its weights were not saved or have been removed; PEFT fails with a KeyError"
			p.Fix = "save the adapter again, or take the entry out of modules_to_save if the module was not trained"
			last := lastPart(path)
			if k.strangers() || !k.base.certain && !inputEmbeddings[last] && !outputEmbeddings[last] {
				p.Severity = diag.Warning // in memory the module may have another name, which the entry does not select
			}
			k.res.Report.Add(p)
			continue
		}
		k.used[e] = true
		k.wholeTensor(e, name, shape)
	}
	return known
}

// wholeTensor holds a tensor that replaces one of the base against it.
func (k *check) wholeTensor(e *entry, name string, shape []uint64) {
	if isEmpty(e.info) {
		return
	}
	want := make([]dim, len(shape))
	for i, n := range shape {
		want[i] = fixed(n)
	}
	if fits(want, e.info.Shape, nil) {
		return
	}
	path := name[:max(strings.LastIndexByte(name, '.'), 0)]
	last := lastPart(path)
	tokens := uint64(0)
	if len(shape) > 0 && (inputEmbeddings[last] || outputEmbeddings[last]) {
		tokens = shape[0]
	}
	if !k.vocabulary(path, e, want, tokens) {
		k.wrongShape(&module{path: path, shape: shape}, mismatch{e, want})
	}
}

// automatic are the entries that PEFT adds to modules_to_save by itself for a
// task, whether the model has them or not.
var automatic = set("classifier", "score", "qa_outputs")

func (k *check) notSaved(saved string) {
	if automatic[saved] && k.headSaved() {
		return // one of them is the head
	}
	if k.base != nil && !k.base.partial {
		p := diag.New(diag.AdapterTargetUnused, "modules_to_save names %s, which the base does not have", diag.Name(saved))
		p.Severity, p.File = diag.Note, ConfigFile
		p.Fix = "take it out of modules_to_save; PEFT ignores it"
		k.res.Report.Add(p)
		return
	}
	p := problem(diag.AdapterTensorMissing, nil, "no tensor of %s is in the file, which modules_to_save names", diag.Name(saved))
	p.Want, p.Got = "the weights of "+diag.Name(saved), "none"
	p.Cause = "the module was trained whole, and its weights were not saved or have been removed; PEFT fails with a KeyError"
	p.Fix = "save the adapter again, or take the entry out of modules_to_save if the module was not trained"
	if last := lastPart(saved); k.base == nil && !inputEmbeddings[last] && !outputEmbeddings[last] {
		p.Severity = diag.Warning
		p.Cause += ", unless the base has no such module"
	}
	k.res.Report.Add(p)
}

// headSaved reports whether the file has one of the heads that PEFT adds to
// modules_to_save for a task.
func (k *check) headSaved() bool {
	return slices.ContainsFunc(k.entries, func(e *entry) bool {
		return e.key == "" && slices.ContainsFunc(strings.Split(e.name, "."), func(part string) bool { return automatic[part] })
	})
}
