package peft

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

const renameFix = "rename the tensors: safeckpt rename-adapter --base DIR ADAPTER OUT"

// prefixes reports names that do not begin with base_model.model.
func (k *check) prefixes() {
	what := map[prefixState]struct{ got, cause string }{
		prefixNone:    {"lack the prefix base_model.model.", "the state_dict of the model inside was saved, or a conversion took the prefix off"},
		prefixTwice:   {"begin with base_model.model. twice", "the state_dict was taken from a PeftModel around a PeftModel, or the prefix was added once more by a conversion"},
		prefixWrapped: {"hold the name of a wrapper (module., _orig_mod. or _fsdp_wrapped_module.)", "the state_dict of the wrapped model (DDP, torch.compile, FSDP) was saved"},
	}
	counts := make(map[prefixState]int)
	first := make(map[prefixState]*entry)
	for _, e := range k.entries {
		if counts[e.prefix]++; first[e.prefix] == nil {
			first[e.prefix] = e
		}
	}
	for _, state := range []prefixState{prefixNone, prefixTwice, prefixWrapped} {
		n := counts[state]
		if n == 0 {
			continue
		}
		e := first[state]
		p := problem(diag.AdapterNames, e, "%d of %d names %s: PEFT finds none of them and changes nothing", n, len(k.entries), what[state].got)
		p.Want, p.Got = diag.Name(modelPrefix+e.name), diag.Name(e.info.Name)
		p.Cause = what[state].cause + "; PEFT warns of missing keys and goes on with an adapter without effect"
		p.Fix = renameFix
		k.res.Report.Add(p)
	}
}

// adapterNames reports names that kept the adapter's own name.
func (k *check) adapterNames() {
	counts := make(map[string]int)
	first := make(map[string]*entry)
	for _, e := range k.entries {
		if e.adapter == "" {
			continue
		}
		if counts[e.adapter]++; first[e.adapter] == nil {
			first[e.adapter] = e
		}
	}
	for _, name := range sortedKeys(counts) {
		e := first[name]
		p := problem(diag.AdapterNameKept, e, "the adapter's name %s stands in %s, as in %s", diag.Name(name), diag.Count(counts[name], "name"), diag.Name(e.info.Name))
		p.Want, p.Got = diag.Name(e.right()), diag.Name(e.info.Name)
		p.Cause = "the state_dict of the model was saved as it is, not by save_pretrained"
		p.Fix = renameFix
		if name == "default" {
			p.Severity = diag.Note
			p.Cause += "; PEFT loads it under the same name only"
		} else {
			p.Cause += "; PEFT loads the adapter as \"default\", finds none of these and changes nothing"
		}
		k.res.Report.Add(p)
	}
	k.renamed()
}

// renamed fills Result.Names.
func (k *check) renamed() {
	k.res.Names = nil
	for _, e := range k.entries {
		right := e.right()
		if right == e.info.Name || right+".weight" == e.info.Name { // the latter: a magnitude
			continue
		}
		if k.res.Names == nil {
			k.res.Names = make(map[string]string)
		}
		k.res.Names[e.info.Name] = right
	}
}

// plainPath returns a module's name without what PEFT's wrappers add.
func plainPath(path string) string {
	return strings.TrimSuffix(strings.ReplaceAll(path+".", ".base_layer.", "."), ".")
}

func (v *view) has(path string) bool { return v.find(path) != nil || v.parents[path] }

// findView takes the layout of the base whose names the adapter has, and if
// there is none looks for changes of names that bring it there. It reports
// whether the adapter has anything to do with the base.
func (k *check) findView() bool {
	modules := make(map[string]bool)
	for path := range k.modules {
		modules[plainPath(path)] = true
	}
	views := k.base.views
	if len(k.c.LayerReplication) > 0 {
		views = slices.Clone(views)
		for i := range views {
			views[i] = views[i].replicate(k.c.LayerReplication)
		}
	}
	best, hits := views[0], -1
	for _, v := range views {
		n := 0
		for path := range modules {
			if v.has(path) {
				n++
			}
		}
		if n > hits {
			best, hits = v, n
		}
	}
	k.view = best
	if hits == len(modules) {
		if best != views[0] {
			k.otherLayout(views[0], modules)
		}
		return true
	}
	var rules []Rename
	for _, v := range views {
		if found := findRenames(v, modules, hits); found != nil {
			k.view, rules = v, found
			break
		}
	}
	if rules == nil {
		if hits == 0 && len(modules) > 0 {
			k.otherBase(modules)
			return false
		}
		return true
	}
	if k.base.certain && !k.base.partial {
		k.rename(rules, hits, len(modules))
	} else {
		k.assume(rules, hits, modules)
	}
	return true
}

// otherLayout warns of an adapter that has the names of a checkpoint on disk, or
// of an older version of transformers. Those on single experts are right: PEFT
// 0.21 joins them as it loads (peft/utils/transformers_weight_conversion.py).
func (k *check) otherLayout(native *view, modules map[string]bool) {
	if native.layout == k.view.layout {
		return
	}
	inMemory := func(path string) bool { return native.has(path) || k.view.pieces[path] }
	hits := 0
	for path := range modules {
		if inMemory(path) {
			hits++
		}
	}
	if hits == len(modules) {
		return
	}
	var e *entry
	for _, x := range k.entries {
		if x.key != "" && !inMemory(plainPath(x.module)) {
			e = x
			break
		}
	}
	p := problem(diag.AdapterNames, e, "%d of %d modules of the adapter exist in the base as it is in memory; all match under the names that it has on disk (layout %s)", hits, len(modules), k.view.layout)
	p.Severity = diag.Warning
	p.Want, p.Got = "the names of the modules in memory", "names of layout "+k.view.layout
	if rules := findRenames(native, modules, hits); rules != nil {
		p.Message += "; " + describe(rules)
		k.res.Renames = rules
		apply := k.renamer(native, rules)
		k.res.Names = make(map[string]string)
		for _, x := range k.entries {
			if right := modelPrefix + apply(x.name); right != x.info.Name {
				k.res.Names[x.info.Name] = right
			}
		}
	}
	p.Cause = "the adapter was trained with an older version of transformers, whose modules had the names on disk; newer ones have moved them, and PEFT then ignores the tensors after one warning"
	p.Fix = "rename the tensors for the present version: safeckpt rename-adapter --base DIR ADAPTER OUT"
	k.res.Report.Add(p)
}

func describe(rules []Rename) string {
	var parts []string
	for _, r := range rules {
		parts = append(parts, fmt.Sprintf("%d match after %s", r.Modules, r))
	}
	return strings.Join(parts, ", ")
}

// otherBase reports an adapter of which nothing exists in the base.
func (k *check) otherBase(modules map[string]bool) {
	names := slices.SortedFunc(maps.Keys(modules), diag.CompareNames)
	p := problem(diag.AdapterOtherBase, nil, "0 of %d modules of the adapter exist in the base, under no change of names: the first is %s", len(names), diag.Name(names[0]))
	p.Want, p.Got = "modules of the base", diag.Name(names[0])
	p.Cause = "the adapter belongs to another model; PEFT finds none of its tensors"
	if !k.base.certain {
		p.Severity = diag.Warning
		p.Cause = "the adapter belongs to another model, or this one's modules have other names in memory than on disk: its model_type is not known here"
	}
	p.Fix = "use the base that the adapter was trained on"
	if k.c.BaseModelName != "" {
		p.Fix += ": the config names " + diag.Name(k.c.BaseModelName)
	}
	k.res.Unexplained = len(k.entries)
	k.res.Report.Add(p)
}

// rename applies the rules to all names and reports them.
func (k *check) rename(rules []Rename, hits, total int) {
	first := -1
	apply := k.renamer(k.view, rules)
	for i, e := range k.entries {
		old := e.name
		if e.name = apply(e.name); e.name == old {
			continue
		}
		if first < 0 {
			first = i
		}
		if e.key != "" {
			e.split(k.method.prefix)
		}
	}
	k.index()
	k.layers = nil
	k.res.Renames = rules
	k.renamed()
	if first < 0 {
		return
	}
	e := k.entries[first]
	p := problem(diag.AdapterNames, e, "%d of %d modules of the adapter exist in the base; %s", hits, total, describe(rules))
	p.Want, p.Got = diag.Name(modelPrefix+e.name), diag.Name(e.info.Name)
	p.Cause = "the adapter was trained with another version of transformers, or on the same model inside another class; PEFT finds none of these tensors and changes nothing"
	p.Fix = renameFix
	if rules[0].From == "" && !strings.Contains(rules[0].To, ".") && k.c.TaskType == "FEATURE_EXTRACTION" {
		p.Severity = diag.Warning
	}
	k.res.Report.Add(p)
}

// assume takes the adapter's names for those in memory where the base is known
// by its tensors on disk only, or without the class around it, and gives the
// base's modules these names.
func (k *check) assume(rules []Rename, hits int, modules map[string]bool) {
	k.unsure, k.res.Renames = true, rules
	p := problem(diag.AdapterNames, nil, "%d of %d modules of the adapter exist under the names that the base has on disk; %s", hits, len(modules), describe(rules))
	p.Severity = diag.Note
	p.Cause = "this model_type is not known here: its modules seem to have other names in memory than on disk, which is common"
	if k.base.partial {
		p.Cause = "config.json does not say of which class the base is; the adapter was trained on one with a head"
	}
	k.res.Report.Add(p)

	next := make(map[string]bool) // parts that follow a prefix which is empty on disk
	for path := range modules {
		for _, r := range rules {
			if to, ok := r.apply(path); ok && r.To == "" && k.view.has(to) {
				next[strings.SplitN(to, ".", 2)[0]] = true
			}
		}
	}
	inMemory := func(name string) string {
		for _, r := range rules {
			if r.To == "" && !next[strings.SplitN(name, ".", 2)[0]] {
				continue
			}
			if from, ok := (Rename{From: r.To, To: r.From}).apply(name); ok {
				return from
			}
		}
		return name
	}
	v := newView(k.view.layout)
	v.was = make(map[string]string)
	for _, m := range k.view.modules {
		old := m.path
		m.path = inMemory(old)
		v.was[m.path] = old
		v.add(m)
	}
	for name, shape := range k.view.tensors {
		v.was[inMemory(name)] = name
		v.addTensor(inMemory(name), shape)
	}
	k.view = v
}

// renamer returns a function that applies the first rule which brings a name
// into the view; names that are there already stay.
func (k *check) renamer(v *view, rules []Rename) func(string) string {
	rules = slices.SortedStableFunc(slices.Values(rules), func(a, b Rename) int { return -cmp.Compare(len(a.From), len(b.From)) })
	return func(name string) string {
		inView := func(name string) bool {
			for i := strings.LastIndexByte(name, '.'); i > 0; i = strings.LastIndexByte(name[:i], '.') {
				if v.find(plainPath(name[:i])) != nil {
					return true
				}
			}
			return false
		}
		if inView(name) {
			return name
		}
		for _, r := range rules {
			if to, ok := r.apply(name); ok && inView(to) {
				return to
			}
		}
		for _, r := range rules { // such as a layer too many
			if to, ok := r.apply(name); ok && r.From != "" {
				return to
			}
		}
		return name
	}
}
