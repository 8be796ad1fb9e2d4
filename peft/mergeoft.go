package peft

import (
	"math"

	"github.com/safeckpt/safeckpt/internal/lowrank"
)

// mergeOFT follows peft 0.21.2 tuners/oft/layer.py: each row of the weight is cut
// into blocks, each of which is multiplied with a rotation.
func mergeOFT(p *mergePlan, l *layer) {
	c := p.check.c
	if c.truth("coft", false) || !c.truth("use_cayley_neumann", true) || l.kind != linear {
		p.cannot(ConfigFile, "of OFT only linear modules with use_cayley_neumann and without coft are merged here")
		return
	}
	f, ok := p.tensors(l, "oft_R.weight")
	if !ok {
		return
	}
	blocks, triangle := asMatrix(f[0])
	size := (1 + uint64(math.Sqrt(float64(1+8*triangle)))) / 2
	shared := l.flag("block_share")
	p.edit(p.weight(l), &denseEdit{
		check: func(t *mergeTarget) bool {
			return size > 0 && size*(size-1)/2 == triangle && t.cols%size == 0 && (blocks == t.cols/size || shared && blocks == 1)
		},
		read: func(r *factorReader, t *mergeTarget) (rowsEditor, error) {
			triangles, err := r.floats(f[0])
			if err != nil {
				return nil, err
			}
			rotations := make([][]float32, blocks)
			for i := range rotations {
				rotations[i] = cayley(triangles[uint64(i)*triangle:][:triangle], int(size), c.int("num_cayley_neumann_terms", 5))
			}
			small := lowrank.Small(int(t.cols), int(t.rows))
			return func(b *mergeBlock, _, n uint64, w []float32) {
				x := b.scratch2(t.cols)
				for i := range n {
					row := w[i*t.cols:][:t.cols]
					copy(x, row)
					for at := uint64(0); at < t.cols; at += size {
						rotate(row[at:][:size], rotations[at/size%blocks], x[at:][:size], int(at), int(t.cols), small)
					}
				}
			}, nil
		},
	})
}

// rotate sets out to r times x, which lies at a place in a row: there torch's
// product may go on with a new accumulator.
func rotate(out, r, x []float32, at, cols int, small bool) {
	size := len(x)
	for i := range out {
		sum, acc := float32(0), float32(0)
		for k, v := range x {
			if at+k > 0 && lowrank.Starts(cols, at+k) {
				sum, acc = sum+acc, 0
			}
			if small {
				acc += float32(r[i*size+k] * v)
			} else {
				acc = lowrank.FMA(r[i*size+k], v, acc)
			}
		}
		out[i] = sum + acc
	}
}

// cayley returns the rotation that belongs to the upper triangle of a
// skew-symmetric matrix Q, by its series 1 + 2Q + 2Q^2 + ... + Q^n.
func cayley(triangle []float32, size, terms int) []float32 {
	q, r := make([]float32, size*size), make([]float32, size*size)
	for i := range size {
		r[i*size+i] = 1
		for j := i + 1; j < size; j++ {
			q[i*size+j], q[j*size+i] = triangle[0], -triangle[0]
			triangle = triangle[1:]
		}
	}
	add := func(m []float32, times float32) {
		for i := range r {
			r[i] += float32(m[i] * times)
		}
	}
	if terms > 1 {
		add(q, 2)
	}
	if terms > 2 {
		power := q
		for n := 2; n < max(terms, 4)-1; n++ { // 3 terms are as many as 4
			power = multiply(power, q, size)
			add(power, 2)
		}
		add(multiply(power, q, size), 1)
	}
	return r
}

// multiply multiplies two square matrices.
func multiply(a, b []float32, size int) []float32 {
	out := make([]float32, size*size)
	separate := lowrank.Small(size, size)
	for i := range size {
		for j := range size {
			acc := float32(0)
			for k := range size {
				if x, y := a[i*size+k], b[k*size+j]; separate {
					acc += float32(x * y)
				} else {
					acc = lowrank.FMA(x, y, acc)
				}
			}
			out[i*size+j] = acc
		}
	}
	return out
}
