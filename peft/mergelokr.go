package peft

import "github.com/safeckpt/safeckpt/safetensors"

// A kronFactor is one of the two matrices of a Kronecker product: whole, or the
// product of two.
type kronFactor struct {
	whole, a, b safetensors.Tensor
	product     bool
	rows, cols  uint64
}

func (p *mergePlan) kronFactor(l *layer, key string) (f kronFactor, ok bool) {
	if p.check.modules[l.path][key] != nil {
		m, _ := p.tensors(l, key)
		f.whole = m[0]
		f.rows, f.cols = asMatrix(f.whole)
		return f, true
	}
	m, ok := p.tensors(l, key+"_a", key+"_b")
	if !ok {
		return f, false
	}
	f.a, f.b, f.product = m[0], m[1], true
	rows, k := asMatrix(f.a)
	rank, cols := asMatrix(f.b)
	f.rows, f.cols = rows, cols
	if k != rank {
		p.lack(l, key)
	}
	return f, k == rank
}

func (f *kronFactor) floats(r *factorReader) ([]float32, error) {
	if !f.product {
		return r.floats(f.whole)
	}
	m, err := r.all(f.a, f.b)
	if err != nil {
		return nil, err
	}
	_, k := asMatrix(f.a)
	out := make([]float32, f.rows*f.cols)
	newProduct(m[0], m[1], f.rows, k, f.cols, false).rows(r.block, 0, f.rows, out)
	return out, nil
}

// mergeLoKr follows peft 0.21.2 tuners/lokr/layer.py, make_kron.
func mergeLoKr(p *mergePlan, l *layer) {
	if p.check.modules[l.path]["lokr_t2"] != nil {
		p.cannot("", "%s is a convolution in three factors (use_effective_conv2d)", l.path)
		return
	}
	w1, ok := p.kronFactor(l, "lokr_w1")
	if !ok {
		return
	}
	w2, ok := p.kronFactor(l, "lokr_w2")
	if !ok {
		return
	}
	rank, _, alpha := p.check.rank(l.name)
	scaling := float32(alpha / float64(rank))
	p.edit(p.weight(l), &denseEdit{
		conv: l.kind == conv,
		check: func(t *mergeTarget) bool {
			return w1.rows < 1<<31 && w1.cols < 1<<31 && w2.rows < 1<<31 && w2.cols < 1<<31 && w1.rows*w2.rows == t.rows && w1.cols*w2.cols == t.cols
		},
		read: func(r *factorReader, _ *mergeTarget) (rowsEditor, error) {
			a, err := w1.floats(r)
			if err != nil {
				return nil, err
			}
			c, err := w2.floats(r)
			if err != nil {
				return nil, err
			}
			return adding(func(b *mergeBlock, row, n uint64, v []float32) {
				for i := range n {
					left, right := a[(row+i)/w2.rows*w1.cols:][:w1.cols], c[(row+i)%w2.rows*w2.cols:][:w2.cols]
					for j, x := range left {
						out := v[(i*w1.cols+uint64(j))*w2.cols:]
						for k, y := range right {
							out[k] = float32(x*y) * scaling
						}
					}
				}
			}), nil
		},
	})
}
