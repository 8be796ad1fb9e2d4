package peft

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// A layerID is one layer of a stack, such as layer 3 of model.layers.
type layerID struct {
	stem  string
	layer int
}

// cutLayer cuts a module's name at its first number: "model.layers.3.mlp.up" is
// layer 3 of "model.layers", and "mlp.up" in it.
func cutLayer(path string) (stem string, layer int, rest string, ok bool) {
	start := 0
	for start < len(path) {
		end := strings.IndexByte(path[start:], '.')
		if end < 0 {
			break
		}
		end += start
		if n, err := strconv.Atoi(path[start:end]); err == nil && start > 0 && n >= 0 {
			return path[:start-1], n, path[end+1:], true
		}
		start = end + 1
	}
	return "", 0, "", false
}

// lastLayer returns the highest layer of a stack in the base.
func (k *check) lastLayer(stem string) (last int, known bool) {
	if k.depth == nil {
		k.depth = make(map[string]int)
		for _, m := range k.view.modules {
			if s, n, _, ok := cutLayer(m.path); ok {
				k.depth[s] = max(k.depth[s], n)
			}
		}
	}
	last, known = k.depth[stem]
	return last, known
}

// evenLayers warns, where no base tells, of layers that lack modules which all
// others have. Layers that differ by design are recognized by having modules of
// their own, by being most of the stack, or by coming at regular intervals.
func (k *check) evenLayers() {
	if k.base != nil || len(k.c.LayersToTransform) > 0 {
		return
	}
	stacks := make(map[string]map[int]map[string]bool)
	for path := range k.modules {
		stem, n, rest, ok := cutLayer(path)
		if !ok {
			continue
		}
		if stacks[stem] == nil {
			stacks[stem] = make(map[int]map[string]bool)
		}
		if stacks[stem][n] == nil {
			stacks[stem][n] = make(map[string]bool)
		}
		stacks[stem][n][rest] = true
	}
	for _, stem := range sortedKeys(stacks) {
		k.evenStack(stem, stacks[stem])
	}
}

func (k *check) evenStack(stem string, layers map[int]map[string]bool) {
	last, union := 0, make(map[string]bool)
	for n, has := range layers {
		last = max(last, n)
		for rest := range has {
			union[rest] = true
		}
	}
	if last >= 4*len(layers)+8 { // numbers that do not count layers
		return
	}
	total := 0
	for _, has := range layers {
		total += len(has)
	}
	if (last+1)*len(union) > 16*total { // no stack of layers that are alike
		return
	}
	full := 0
	for _, has := range layers {
		if len(has) == len(union) {
			full++
		}
	}
	var uneven []int
	lacking := make(map[int][]string)
	for n := range last + 1 {
		for rest := range union {
			path := fmt.Sprintf("%s.%d.%s", stem, n, rest)
			if layers[n][rest] || !k.selects(path) {
				continue
			}
			lacking[n] = append(lacking[n], rest)
		}
		if len(lacking[n]) > 0 {
			uneven = append(uneven, n)
		}
	}
	if len(uneven) == 0 || full*2 <= last+1 || evenlySpaced(uneven) {
		return
	}
	for _, n := range uneven {
		slices.SortFunc(lacking[n], diag.CompareNames)
		p := problem(diag.AdapterUneven, nil, "layer %d of %s lacks %s, which %d other layers have", n, diag.Name(stem), diag.Name(strings.Join(lacking[n], ", ")), full)
		p.Tensor = fmt.Sprintf("%s%s.%d", modelPrefix, stem, n)
		p.Cause = "tensors were lost, or the layers of this model differ by design"
		p.Fix = "check the adapter against its base: safeckpt verify --base DIR ADAPTER"
		k.res.Report.Add(p)
	}
}

// selects reports whether the config would put an adapter on the path.
func (k *check) selects(path string) bool {
	_, ok := k.match.target(path)
	return ok || k.c.Targets.allLinear() || k.isTargetParameter(path) && len(k.c.TargetParameters) > 0
}

// evenlySpaced reports whether two or more layers come at equal distances above 1.
func evenlySpaced(layers []int) bool {
	if len(layers) < 2 || layers[1]-layers[0] == 1 {
		return false
	}
	for i := 2; i < len(layers); i++ {
		if layers[i]-layers[i-1] != layers[1]-layers[0] {
			return false
		}
	}
	return true
}

// replicate returns the view with the layers of its first stack repeated.
// Follows peft 0.21.2 tuners/tuners_utils.py, replicate_layers.
func (v *view) replicate(ranges [][2]int) *view {
	stem := ""
	for _, m := range v.modules {
		s, _, _, ok := cutLayer(m.path)
		if last := lastPart(s); ok && (last == "layers" || last == "h" || strings.HasSuffix(s, "encoder.layer")) {
			stem = s
			break
		}
	}
	if stem == "" {
		return v
	}
	byLayer := make(map[int][]module)
	tensors := make(map[int]map[string][]uint64)
	out := newView(v.layout)
	for _, m := range v.modules {
		if s, n, rest, ok := cutLayer(m.path); ok && s == stem {
			m.path = rest
			byLayer[n] = append(byLayer[n], m)
			continue
		}
		out.add(m)
	}
	for name, shape := range v.tensors {
		if s, n, rest, ok := cutLayer(name); ok && s == stem {
			if tensors[n] == nil {
				tensors[n] = make(map[string][]uint64)
			}
			tensors[n][rest] = shape
			continue
		}
		out.addTensor(name, shape)
	}
	n := 0
	for _, r := range ranges {
		for i := r[0]; i < r[1]; i++ {
			prefix := fmt.Sprintf("%s.%d.", stem, n)
			for _, m := range byLayer[i] {
				m.path = prefix + m.path
				out.add(m)
			}
			for rest, shape := range tensors[i] {
				out.addTensor(prefix+rest, shape)
			}
			n++
		}
	}
	return out
}
