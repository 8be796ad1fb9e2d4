package peft

import "github.com/safeckpt/safeckpt/diag"

// mergeVeRA follows peft 0.21.2 tuners/vera/layer.py, get_delta_weight.
func mergeVeRA(p *mergePlan, l *layer) {
	f, ok := p.tensors(l, "vera_lambda_b", "vera_lambda_d")
	if !ok {
		return
	}
	for _, key := range []string{"vera_A", "vera_B"} {
		e := p.check.shared[key]
		if e == nil {
			p.cannot(ConfigFile, "the file lacks %s: save_projection was false, and PEFT draws it again from its random numbers", diag.Name(key))
			return
		}
		f = append(f, p.file(e))
	}
	rank, wide := asMatrix(f[2])
	high, k := asMatrix(f[3])
	out, in := f[0].Info().Elements(), l.in
	transposed := l.kind == conv1d
	p.edit(p.weight(l), &denseEdit{
		check: func(t *mergeTarget) bool {
			rows, cols := t.rows, t.cols
			if transposed {
				rows, cols = cols, rows
			}
			return k == rank && f[1].Info().Elements() == rank && in <= wide && out <= high && rows == out && cols == in
		},
		read: func(r *factorReader, _ *mergeTarget) (rowsEditor, error) {
			m, err := r.all(f...)
			if err != nil {
				return nil, err
			}
			left, right := make([]float32, out*rank), make([]float32, rank*in)
			for i := range left {
				left[i] = m[0][uint64(i)/rank] * m[3][i]
			}
			for i := range rank {
				for j := range in {
					right[i*in+j] = m[1][i] * m[2][i*wide+j]
				}
			}
			return adding(newProduct(left, right, out, rank, in, transposed).rows), nil
		},
	})
}
