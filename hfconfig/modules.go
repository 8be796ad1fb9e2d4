package hfconfig

import "iter"

// A Module is a part of the model that has a weight, as adapters see it.
type Module struct {
	// Path is the module's name in memory (layout Native), such as
	// "model.language_model.layers.0.self_attn.q_proj". Of a Param or Buffer it is
	// the full name of the tensor.
	Path string
	Kind Kind
	// In and Out are the sizes that the module maps from and to: of a linear map
	// its features, of a convolution its channels (those of one group for the side
	// that is cut into groups), of an Embedding entries and dim. 0 for other kinds.
	In, Out uint64
	// Shape is that of the weight, as torch stores it; not to be modified.
	Shape []uint64
	// Bias says whether there is a bias; its length is Out, of a Norm Shape[0].
	Bias bool

	disk [layoutCount]string
}

// Name returns the module's path on disk in a layout, without ".weight". It is
// "" where the layout cuts the weight in another way, so that no tensor of it
// stands for this module alone.
func (m *Module) Name(l Layout) string { return m.disk[l] }

// Modules returns the modules of the model in the order of the schema, those
// with tied weights included.
func (x *Expectation) Modules() iter.Seq[Module] {
	return func(yield func(Module) bool) {
		p := x.plan
		f := &frame{vars: make([]value, p.slots), left: maxWork}
		var buf []byte
		_ = walk(p.nodes, f, false, func(n *node) error { // no error but errStop, as in each
			r := n.row
			if r == nil || !r.layouts.has(Native) || r.optional {
				return nil
			}
			shape, bias, err := r.size(f)
			if err != nil {
				return err
			}
			m := Module{Kind: r.kind, Shape: shape, Bias: bias != nil || r.kind == BatchNorm}
			if k := &kinds[r.kind]; k.in != none {
				m.In, m.Out = shape[k.in], shape[k.out]
			}
			for l := range Layout(layoutCount) {
				if !r.layouts.has(l) {
					continue
				}
				buf = appendName(buf[:0], r.names[l], f)
				m.disk[l] = string(buf)
			}
			m.Path = m.disk[Native]
			if !yield(m) {
				return errStop
			}
			return nil
		})
	}
}
