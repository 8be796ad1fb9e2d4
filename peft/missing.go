package peft

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// missing reports what a targeted module lacks.
func (k *check) missing(m *module, absent []want, have int) {
	if len(absent) == 0 {
		return
	}
	if have == 0 && m.path != "" && m.path != adapterRoot {
		p := problem(diag.AdapterModuleMissing, nil, "%s is targeted and has no tensors in the file", diag.Name(m.path))
		p.Tensor = modelPrefix + m.path
		p.Want, p.Got = "its "+k.c.Type+" tensors", "none"
		p.Cause = "the file was cut down or merged from parts, or the adapter was trained on a model without these modules; PEFT starts them anew, with no effect, after one warning"
		if layers := k.layersWithout(m.path); layers != "" {
			p.Cause = "the file holds nothing for " + layers + " of the base: the adapter was trained on a model with fewer layers, or its last part is lost"
		}
		p.Fix = "save the adapter again, or check it against the base that it was trained on"
		if k.strangers() {
			p.Severity = diag.Warning
			p.Cause = "other targeted modules of the file are not among the base's tensors on disk: this one may be one of them under its name on disk, as this model_type is not known here"
		}
		k.res.Report.Add(p)
		return
	}
	for _, w := range absent {
		name := strings.TrimPrefix(m.path+"."+w.key, ".")
		p := problem(diag.AdapterTensorMissing, nil, "%s is missing: want %s", diag.Name(name), dimsString(w.shape))
		if p.Tensor = name; m.path != "" && m.path != adapterRoot {
			p.Tensor = modelPrefix + name
		}
		p.Want, p.Got = dimsString(w.shape), "absent"
		p.Cause = cmp.Or(w.lack, "the file was cut down or damaged; PEFT starts the tensor anew after one warning")
		p.Fix = "save the adapter again from the training checkpoint"
		k.res.Report.Add(p)
	}
}

// strangers reports whether the file has targeted modules that a base known by its
// tensors only does not have: names on disk need not be those in memory.
func (k *check) strangers() bool {
	if k.base == nil || k.base.certain {
		return false
	}
	if k.foreign == nil {
		found := false
		for path := range k.modules {
			path = plainPath(path)
			if stem, layer, _, ok := cutLayer(path); ok {
				if last, known := k.lastLayer(stem); known && layer > last {
					continue // of a deeper base
				}
			}
			_, targeted := k.match.target(path)
			found = found || targeted && !k.view.has(path)
		}
		k.foreign = &found
	}
	return *k.foreign
}

// layersWithout says which layers of the base the file holds nothing for, if the
// module belongs to one of them; else "".
func (k *check) layersWithout(path string) string {
	stem, layer, _, ok := cutLayer(path)
	if !ok {
		return ""
	}
	if k.layers == nil {
		k.layers = make(map[layerID]bool)
		for m := range k.modules {
			if s, l, _, ok := cutLayer(m); ok {
				k.layers[layerID{s, l}] = true
			}
		}
		k.absent = make(map[string]string)
	}
	last, known := k.lastLayer(stem)
	if k.layers[layerID{stem, layer}] || !known || last > maxReplicated {
		return ""
	}
	text, done := k.absent[stem]
	if !done {
		text = fmt.Sprintf("layers %s of %s", ranges(last, func(n int) bool { return !k.layers[layerID{stem, n}] }), diag.Name(stem))
		k.absent[stem] = text
	}
	return text
}

// ranges lists the numbers up to last for which in holds: "2, 5-9".
func ranges(last int, in func(int) bool) string {
	var parts []string
	for n := 0; n <= last; n++ {
		start := n
		for in(n) && n <= last {
			n++
		}
		switch {
		case n == start+1:
			parts = append(parts, strconv.Itoa(start))
		case n > start:
			parts = append(parts, fmt.Sprintf("%d-%d", start, n-1))
		}
	}
	return strings.Join(parts, ", ")
}
