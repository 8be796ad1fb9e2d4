package peft

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/safeckpt/safeckpt/safetensors"
)

// fusedExperts says which weights of single experts lie one below the other in a
// parameter that joins all experts. Follows transformers 5.23.0,
// conversion_mapping.py: MergeModulelist, Concatenate.
var fusedExperts = map[string][][]string{
	"gate_up_proj": {{"gate_proj", "up_proj"}, {"w1", "w3"}},
	"down_proj":    {{"down_proj"}, {"w2"}},
}

// A region is a part of a matrix in memory, rows [from, from+rows) of the product
// of one expert, and where it begins in a tensor on disk.
type region struct {
	tensor     string
	at         uint64 // row in the tensor
	from, rows uint64
	expert     uint64
}

// An expertGroup is the tensors STEM.0.NAME.weight, STEM.1.NAME.weight, ...
type expertGroup struct {
	stem  string
	names map[string][]uint64 // shapes, those of expert 0
	count uint64
}

// expertGroups finds the experts among the tensors on disk.
func expertGroups(tensors iter.Seq[*safetensors.TensorInfo]) []expertGroup {
	groups := make(map[string]*expertGroup)
	for t := range tensors {
		stem, n, leaf, ok := cutExpert(strings.TrimSuffix(t.Name, ".weight"))
		if !ok || len(t.Shape) != 2 {
			continue
		}
		g := groups[stem]
		if g == nil {
			g = &expertGroup{stem: stem, names: make(map[string][]uint64)}
			groups[stem] = g
		}
		g.count = max(g.count, n+1)
		if n == 0 {
			g.names[leaf] = t.Shape
		}
	}
	var out []expertGroup
	for _, stem := range sortedKeys(groups) {
		out = append(out, *groups[stem])
	}
	return out
}

// cutExpert cuts "x.experts.3.w1" into "x.experts", 3 and "w1".
func cutExpert(path string) (stem string, n uint64, leaf string, ok bool) {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return "", 0, "", false
	}
	stem, leaf = path[:i], path[i+1:]
	if i = strings.LastIndexByte(stem, '.'); i < 0 || lastPart(stem[:i]) != "experts" {
		return "", 0, "", false
	}
	n, err := strconv.ParseUint(stem[i+1:], 10, 16)
	return stem[:i], n, leaf, err == nil
}

// regions returns where the rows of a parameter, [out,in] or [experts,out,in],
// are on disk; nil if that is not known.
func (d *mergeDisk) regions(name string, shape []uint64) []region {
	if len(shape) == 2 {
		return []region{{tensor: d.name(name), rows: shape[0]}}
	}
	var out []region
	if disk := d.name(name); d.has(disk) {
		for e := range shape[0] {
			out = append(out, region{disk, e * shape[1], 0, shape[1], e})
		}
		return out
	}
	parent, leaf := name[:max(strings.LastIndexByte(name, '.'), 0)], lastPart(name)
	g := d.group(parent, shape[0])
	for _, names := range fusedExperts[leaf] {
		if g == nil || !slices.ContainsFunc(names, func(n string) bool { return g.names[n] != nil }) {
			continue
		}
		total := uint64(0)
		for _, n := range names {
			part := g.names[n]
			if part == nil || part[1] != shape[2] {
				return nil
			}
			for e := range shape[0] {
				tensor := g.stem + "." + strconv.FormatUint(e, 10) + "." + n + ".weight"
				out = append(out, region{tensor, 0, total, part[0], e})
			}
			total += part[0]
		}
		if total != shape[1] {
			return nil
		}
		// By expert: so each one's factors are read once.
		slices.SortStableFunc(out, func(a, b region) int { return cmp.Compare(a.expert, b.expert) })
		return out
	}
	return nil
}

// group finds the experts on disk that a module in memory joins: those in the
// layer of the same number, if there is one such group only.
func (d *mergeDisk) group(parent string, count uint64) *expertGroup {
	_, layer, _, ok := cutLayer(parent + ".x")
	var found *expertGroup
	for i := range d.experts {
		g := &d.experts[i]
		_, n, _, isLayer := cutLayer(g.stem + ".x")
		if g.count != count || isLayer != ok || n != layer || lastPart(g.stem) != lastPart(parent) {
			continue
		}
		if found != nil {
			return nil
		}
		found = g
	}
	return found
}

// expert returns where the weight of a module that is a single expert's lies in a
// parameter that joins all on disk; nil if it is not known.
func (d *mergeDisk) expert(path string, rows uint64) *region {
	stem, n, leaf, ok := cutExpert(path)
	if !ok {
		return nil
	}
	_, layer, _, _ := cutLayer(stem + ".x")
	for fused, all := range fusedExperts {
		for _, names := range all {
			at := slices.Index(names, leaf)
			if at < 0 {
				continue
			}
			var found *region
			for name, t := range d.model.All() {
				shape := t.Info().Shape
				_, l, _, ok := cutLayer(name)
				if !ok || l != layer || lastPart(name) != fused || !strings.HasSuffix(name, "experts."+fused) || len(shape) != 3 || n >= shape[0] || shape[1] != rows*uint64(len(names)) {
					continue
				}
				if found != nil {
					return nil
				}
				found = &region{tensor: name, at: n*shape[1] + uint64(at)*rows, rows: rows, expert: n}
			}
			if found != nil {
				return found
			}
		}
	}
	return nil
}
