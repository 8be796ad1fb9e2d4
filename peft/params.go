package peft

import (
	"math"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// parameters holds what target_parameters selects against the file. Each
// parameter of a module gets a wrapper of its own around the module; the first
// registered is the innermost. Follows peft 0.21.2 tuners/tuners_utils.py,
// _inject_parameters, and tuners/lora/layer.py, ParamWrapper.
func (k *check) parameters() {
	if len(k.c.TargetParameters) == 0 || k.c.Type != "LORA" {
		return
	}
	if k.base == nil {
		k.parametersOfFile()
		return
	}
	type found struct {
		module
		entry string
	}
	byModule := make(map[string][]found)
	var order []string
	for i := range k.view.modules {
		m := k.view.modules[i]
		name := m.path
		if m.kind != parameter && m.kind != attention {
			name += ".weight"
		}
		entry, ok := k.match.parameter(name)
		if !ok || len(m.shape) != 2 && len(m.shape) != 3 {
			continue
		}
		parent := name[:max(strings.LastIndexByte(name, '.'), 0)]
		if byModule[parent] == nil {
			order = append(order, parent)
		}
		m.path, m.kind = name, parameter
		byModule[parent] = append(byModule[parent], found{m, entry})
	}
	for _, parent := range order {
		params := byModule[parent]
		for i, p := range params {
			wrapped := parent + strings.Repeat(".base_layer", len(params)-1-i)
			k.parameter(p.module, wrapped, p.entry)
		}
	}
}

// parameter holds one parameter of a known shape against the file: A is
// [r*experts,in] and B [out,r*experts].
func (k *check) parameter(m module, wrapped, entry string) {
	rank, key, alpha := k.rank(m.path)
	experts, out, in := uint64(1), m.shape[0], m.shape[1]
	if len(m.shape) == 3 {
		experts, out, in = m.shape[0], m.shape[1], m.shape[2]
		// A module may hold its experts transposed; the file shows it.
		if a := k.modules[wrapped]["lora_A.weight"]; a != nil && len(a.info.Shape) == 2 && a.info.Shape[1] == out {
			out, in = in, out
		}
	}
	if rank > 0 && experts > math.MaxInt32/uint64(rank) {
		return
	}
	layer := module{wrapped, parameter, in, out, m.shape}
	have, complete := k.part(&layer, rank*int(experts), key)
	if complete {
		k.res.Complete++
	}
	k.res.Modules = append(k.res.Modules, ModuleResult{Path: m.path, Target: entry, Rank: rank, Alpha: alpha,
		Scaling: k.c.scaling(rank, alpha), Tensors: have, Complete: complete})
}

// parametersOfFile holds modules against target_parameters when no base tells
// which parameters there are: A and B must agree, and be a multiple of a rank.
func (k *check) parametersOfFile() {
	for _, path := range k.fileModules() {
		outer := strings.ReplaceAll(path+".", ".base_layer.", ".")
		outer = outer[:len(outer)-1]
		if _, targeted := k.match.target(outer); targeted {
			continue
		}
		for _, entry := range k.c.TargetParameters {
			parent, leaf := "", entry
			if i := strings.LastIndexByte(entry, '.'); i >= 0 {
				parent, leaf = entry[:i], entry[i+1:]
			}
			if parent != "" && outer != parent && !strings.HasSuffix(outer, "."+parent) {
				continue
			}
			k.parameterOfFile(path, outer+"."+leaf, entry)
			break
		}
	}
}

func (k *check) parameterOfFile(path, name, entry string) {
	rank, key, alpha := k.rank(name)
	rows := 0
	if a := k.modules[path]["lora_A.weight"]; a != nil && len(a.info.Shape) == 2 && a.info.Shape[0] < math.MaxInt32 {
		rows = int(a.info.Shape[0])
	}
	total := rank
	if rank > 0 && rows > 0 && rows%rank == 0 || k.anyRankDivides(rows) {
		total = rows
	}
	have, complete := k.part(&module{path: path, kind: parameter}, total, key)
	if complete {
		k.res.Complete++
	}
	k.res.Modules = append(k.res.Modules, ModuleResult{Path: path, Target: entry, Rank: rank, Alpha: alpha,
		Scaling: k.c.scaling(rank, alpha), Tensors: have, Complete: complete})
}

// anyRankDivides reports whether one of the ranks in rank_pattern fits; which
// parameter a module's tensors belong to cannot be told without a base.
func (k *check) anyRankDivides(rows int) bool {
	for _, p := range k.c.RankPattern {
		if p.Value > 0 && rows > 0 && rows%int(p.Value) == 0 {
			return true
		}
	}
	return false
}

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
	for _, saved := range k.c.ModulesToSave {
		if saved == "" {
			continue
		}
		if k.base != nil && k.savedOfBase(saved, names) {
			continue
		}
		found := false
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
	if automatic[saved] {
		for _, other := range k.c.ModulesToSave { // one of the two is the head
			if automatic[other] && other != saved {
				return
			}
		}
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
	k.res.Report.Add(p)
}
