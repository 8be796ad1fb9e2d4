package peft

// mergeIA3 follows peft 0.21.2 tuners/ia3/layer.py: the weight is multiplied with
// one factor for each output, or each input of a feedforward module; the bias with
// those of the outputs.
func mergeIA3(p *mergePlan, l *layer) {
	f, ok := p.tensors(l, "ia3_l")
	if !ok {
		return
	}
	count := f[0].Info().Elements()
	shape := f[0].Info().Shape
	// The factors of a linear map are [out,1] or [1,in], those of a convolution
	// [1,out,1...] or [1,in,1...].
	byInput := len(shape) == 2 && shape[0] == 1 && (shape[1] != 1 || l.feedforward)
	if l.kind == conv {
		byInput = l.feedforward
	}
	kernel := l.kernel()
	byColumn := byInput != (l.kind == conv1d)
	p.edit(p.weight(l), &denseEdit{
		conv: l.kind == conv,
		check: func(t *mergeTarget) bool {
			if byColumn {
				return count*kernel == t.cols
			}
			return count == t.rows
		},
		read: func(r *factorReader, t *mergeTarget) (rowsEditor, error) {
			factors, err := r.floats(f[0])
			return func(b *mergeBlock, row, n uint64, w []float32) {
				for i := range w {
					if byColumn {
						w[i] *= factors[uint64(i)%t.cols/kernel]
					} else {
						w[i] *= factors[row+uint64(i)/t.cols]
					}
				}
			}, err
		},
	})
	bias := p.disk.name(plainPath(l.path) + ".bias")
	if byInput || !p.disk.has(bias) {
		return
	}
	p.edit(bias, &denseEdit{
		check: func(t *mergeTarget) bool { return t.rows*t.cols == count },
		read: func(r *factorReader, _ *mergeTarget) (rowsEditor, error) {
			factors, err := r.floats(f[0])
			return func(b *mergeBlock, row, n uint64, w []float32) {
				for i := range w {
					w[i] *= factors[row*b.cols+uint64(i)]
				}
			}, err
		},
	})
}
