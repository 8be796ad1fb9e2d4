package peft

// mergeLoHa follows peft 0.21.2 tuners/loha/layer.py, HadaWeight.
func mergeLoHa(p *mergePlan, l *layer) {
	if p.check.modules[l.path]["hada_t1"] != nil {
		p.cannot("", "%s is a convolution in three factors (use_effective_conv2d)", l.path)
		return
	}
	f, ok := p.tensors(l, "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
	if !ok {
		return
	}
	rows, k := asMatrix(f[0])
	_, cols := asMatrix(f[1])
	rank, _, alpha := p.check.rank(l.name)
	scaling := float32(alpha / float64(rank))
	p.edit(p.weight(l), &denseEdit{
		conv: l.kind == conv,
		check: func(t *mergeTarget) bool {
			for i, want := range [][2]uint64{{rows, k}, {k, cols}, {rows, k}, {k, cols}} {
				if a, b := asMatrix(f[i]); a != want[0] || b != want[1] {
					return false
				}
			}
			return rows == t.rows && cols == t.cols
		},
		read: func(r *factorReader, _ *mergeTarget) (rowsEditor, error) {
			m, err := r.all(f...)
			if err != nil {
				return nil, err
			}
			first, second := newProduct(m[0], m[1], rows, k, cols, false), newProduct(m[2], m[3], rows, k, cols, false)
			return adding(func(b *mergeBlock, row, n uint64, v []float32) {
				first.rows(b, row, n, v)
				w := b.scratch3(uint64(len(v)))
				second.rows(b, row, n, w)
				for i := range v {
					v[i] = float32(v[i]*w[i]) * scaling
				}
			}), nil
		},
	})
}
