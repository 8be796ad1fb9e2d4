package peft

// mergeAdaLoRA follows peft 0.21.2 tuners/adalora/layer.py, SVDLinear: the weight
// is added to by B*(A*E) * scaling / (ranks + 1e-5).
func mergeAdaLoRA(p *mergePlan, l *layer) {
	f, ok := p.tensors(l, "lora_A", "lora_B", "lora_E")
	if !ok {
		return
	}
	rank, in := asMatrix(f[0])
	out, k := asMatrix(f[1])
	transposed := l.kind == conv1d
	scaling := float32(8) // PEFT's default
	if p.check.c.has("lora_alpha") {
		alpha, _ := number64(p.check.c.value("lora_alpha"))
		scaling = float32(alpha)
	}
	if scaling <= 0 {
		scaling = float32(rank)
	}
	p.edit(p.weight(l), &denseEdit{
		conv: l.kind == conv,
		check: func(t *mergeTarget) bool {
			rows, cols := t.rows, t.cols
			if transposed {
				rows, cols = cols, rows
			}
			return k == rank && f[2].Info().Elements() == rank && rows == out && cols == in
		},
		read: func(r *factorReader, _ *mergeTarget) (rowsEditor, error) {
			m, err := r.all(f...)
			if err != nil {
				return nil, err
			}
			right := make([]float32, len(m[0]))
			for i := range right {
				right[i] = m[0][i] * m[2][uint64(i)/in]
			}
			product := newProduct(m[1], right, out, rank, in, transposed)
			ranks := float32(rank) + 1e-5
			return adding(func(b *mergeBlock, row, n uint64, v []float32) {
				product.rows(b, row, n, v)
				for i := range v {
					v[i] = float32(v[i]*scaling) / ranks
				}
			}), nil
		},
	})
}
