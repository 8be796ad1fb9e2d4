package hfconfig

import (
	"math/bits"
	"slices"
	"strings"
)

// A quantized is a plan's quantization and what it leaves alone of this model.
type quantized struct {
	*quantization
	spared map[string]bool // output embeddings, tied weights, the last module
}

// quantize prepares a plan for its quantization, once its ties are known.
func (p *plan) quantize(f *frame) error {
	if p.quant == nil || !p.quant.tails {
		return nil
	}
	p.quant.spared = make(map[string]bool)
	for target, source := range p.ties {
		p.quant.spared[strings.TrimSuffix(target, ".weight")] = true
		p.quant.spared[strings.TrimSuffix(source, ".weight")] = true
	}
	var last string
	var tables [][]uint64              // shapes of embeddings
	heads := make(map[string][]uint64) // linear maps outside the layers
	err := walk(p.nodes, f, false, func(n *node) error {
		r := n.row
		if r == nil || !r.layouts.has(Native) || r.optional {
			return nil
		}
		shape, _, err := r.size(f)
		if err != nil {
			return err
		}
		if err := checkName(r.names[Native], f); err != nil {
			return err
		}
		last = string(appendName(nil, r.names[Native], f))
		switch {
		case r.kind == Embedding && !inList(last):
			tables = append(tables, shape)
		case r.kind == Linear && !inList(last):
			heads[last] = shape
		}
		return nil
	})
	p.quant.spared[last] = true
	for name, shape := range heads {
		if slices.ContainsFunc(tables, func(s []uint64) bool { return slices.Equal(s, shape) }) {
			p.quant.spared[name] = true
		}
	}
	return err
}

// A weight is the weight of one module, where it may be quantized.
type weight struct {
	path   []byte // on disk, in the layout that is asked for
	rule   bool   // the config says that it is
	either bool   // some versions do, some do not
	parts  []stored
	shape  []uint64 // as it is
	plain  string   // suffix of the tensor that holds it as it is
}

// of returns the parts that a row's weight may be stored in; ok is false if it
// stays as it is.
func (q *quantized) of(r *row, f *frame, path []byte, shape []uint64) (w weight, ok bool) {
	elements := uint64(1)
	for _, d := range shape {
		hi, lo := bits.Mul64(elements, d)
		if elements = lo; hi != 0 || lo > 1<<62 {
			return w, false // too large to count, which measure says
		}
	}
	m := &linearMap{names: r.allNames(f)}
	w = weight{path: path, shape: shape, plain: ".weight"}
	switch {
	case q.linear == nil && (r.kind == Linear || r.kind == Conv1D):
		return w, false
	case r.kind == Linear:
		m.out, m.in = shape[0], shape[1]
		w.parts = q.linear(m)
	case r.kind == Conv1D && q.conv1d:
		m.out, m.in = shape[1], shape[0]
		w.parts = q.linear(m)
	case r.kind == Param && q.stack != nil && len(shape) == 3 && isStack(m.names[0]):
		w.parts, w.plain = q.stack(&expertStack{shape[0], shape[1], shape[2]}), ""
	}
	if w.parts == nil {
		return w, false
	}
	w.either = q.modules && !r.layouts.has(Native)
	w.rule = !w.either && !q.spared[m.names[0]] && !q.exempt(m)
	return w, true
}

// allNames returns the row's names that differ, the one in memory first.
func (r *row) allNames(f *frame) []string {
	var names []string
	for _, l := range [...]Layout{Native, Save, Hub} {
		same := l != Native && r.layouts.has(Native) && r.native.has(l) || l == Hub && r.layouts.has(Save) && r.saved.has(l)
		if r.layouts.has(l) && !same {
			names = append(names, string(appendName(nil, r.names[l], f)))
		}
	}
	return names
}

// isStack reports whether a parameter holds the weights of all experts of a layer.
func isStack(path string) bool {
	for _, end := range []string{".experts.gate_up_proj", ".experts.up_proj", ".experts.down_proj"} {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return false
}

// unknown reports whether nothing can be said of how a row's weight is stored.
func (q *quantized) unknown(r *row) bool {
	return q != nil && q.linear == nil && (r.kind == Linear || r.kind == Conv1D || r.kind == Param && len(r.dims) == 3)
}
