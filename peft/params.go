package peft

import (
	"cmp"
	"math"
	"slices"
	"strings"
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
		// Files may be sorted by name; modules register down_proj last.
		slices.SortStableFunc(params, func(a, b found) int {
			return cmp.Compare(strings.Count(lastPart(a.path), "down_proj"), strings.Count(lastPart(b.path), "down_proj"))
		})
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
	have, complete := k.part(&layer, m.path, rank*int(experts), key)
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
		if entry, leaf, ok := k.parameterOf(outer); ok {
			k.parameterOfFile(path, outer+"."+leaf, entry)
		}
	}
}

// parameterOf returns the entry of target_parameters that speaks for a parameter
// of the module, and the parameter's name: one that names the module, else one
// that names none.
func (k *check) parameterOf(module string) (entry, leaf string, ok bool) {
	for _, e := range k.c.TargetParameters {
		i := strings.LastIndexByte(e, '.')
		switch {
		case i < 0 && !ok:
			entry, leaf, ok = e, e, true
		case i >= 0 && (module == e[:i] || strings.HasSuffix(module, "."+e[:i])):
			return e, e[i+1:], true
		}
	}
	return entry, leaf, ok
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
	have, complete := k.part(&module{path: path, kind: parameter}, name, total, key)
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
