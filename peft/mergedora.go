package peft

import (
	"math"

	"github.com/safeckpt/safeckpt/internal/lowrank"
	"github.com/safeckpt/safeckpt/safetensors"
)

// A doraEdit sets a weight to magnitude/norm * (W + scaling*B*A), where the norm is
// that of each output. Follows peft 0.21.2 tuners/lora/dora.py and variants.py.
type doraEdit struct {
	lowRank
	magnitude safetensors.Tensor
}

func (p *mergePlan) mergeDoRA(disk string, e lowRank, magnitude *entry) {
	for _, name := range p.disk.members(disk) {
		if t := p.targets[name]; t != nil && len(t.edits) > 0 {
			p.cannot("", "%s is changed by two adapters, one of them DoRA", name)
			return
		}
	}
	p.edit(disk, &doraEdit{e, p.file(magnitude)})
}

func (e *doraEdit) fit(t *mergeTarget) error {
	if err := e.lowRank.fit(t); err != nil {
		return err
	}
	outputs := t.rows
	if e.transposed {
		outputs = t.cols
	}
	if e.magnitude.Info().Elements() != outputs || e.region.rows != t.rows {
		return errNoFit
	}
	return nil
}

// sum fills v with rows of W + scaling*B*A, from one row of the block on.
func (e *doraEdit) sum(b *mergeBlock, f *factors, row, n uint64, v []float32) {
	b.floats(v, row*b.cols)
	left := f.left(b, b.row+row, n)
	for panel := range f.right.Panels() {
		tile := b.tile[:n*lowrank.Panel]
		lowrank.Multiply(tile, left, f.right, panel, b.tile2)
		for i := range n {
			w := v[i*b.cols+uint64(panel)*lowrank.Panel : (i+1)*b.cols]
			for j, p := range tile[i*lowrank.Panel:][:min(lowrank.Panel, len(w))] {
				d := float32(p * e.scaling) // not to be fused
				w[j] += d
			}
		}
	}
}

func (e *doraEdit) prepare(r *factorReader, t *mergeTarget) (func(b *mergeBlock) bool, error) {
	f, err := e.read(r)
	if err != nil {
		return nil, err
	}
	m, err := r.floats(e.magnitude)
	if err != nil {
		return nil, err
	}
	if !e.transposed {
		return e.edit(f, func(v []float32, row uint64) {
			factor := m[row] / norm(v)
			for i := range v {
				v[i] = float32(factor * v[i])
			}
		}), nil
	}
	// The outputs are columns: their norms need all rows.
	squares := make([]float32, t.cols)
	err = r.blocks(t, func(b *mergeBlock) {
		e.eachRow(b, f, func(v []float32, _ uint64) {
			for i, x := range v {
				squares[i] += float32(x * x)
			}
		})
	})
	if err != nil {
		return nil, err
	}
	for i, s := range squares {
		squares[i] = m[i] / float32(math.Sqrt(float64(s)))
	}
	return e.edit(f, func(v []float32, _ uint64) {
		for i := range v {
			v[i] = float32(squares[i] * v[i])
		}
	}), nil
}

// edit returns the function that scales each row of the sum.
func (e *doraEdit) edit(f *factors, scale func(v []float32, row uint64)) func(b *mergeBlock) bool {
	return func(b *mergeBlock) bool {
		finite := true
		e.eachRow(b, f, func(v []float32, row uint64) {
			scale(v, row)
			finite = b.set((row-b.row)*b.cols, v) && finite
		})
		return finite
	}
}

// eachRow calls fn with the rows of the sum. row is that of the tensor.
func (e *doraEdit) eachRow(b *mergeBlock, f *factors, fn func(v []float32, row uint64)) {
	for row := uint64(0); row < b.rows; row += eightRows {
		n := min(eightRows, b.rows-row)
		v := b.scratch(n * b.cols)
		e.sum(b, f, row, n, v)
		for i := range n {
			fn(v[i*b.cols:][:b.cols], b.row+row+i)
		}
	}
}

// norm returns the L2 norm as torch adds it up for a row that lies end to end:
// eight sums of every eighth square, those added in order, then the rest; each
// product is rounded.
func norm(v []float32) float32 {
	var lanes [8]float32
	for ; len(v) >= 8; v = v[8:] {
		for i, x := range (*[8]float32)(v) {
			lanes[i] += float32(x * x)
		}
	}
	sum := float32(0)
	for _, l := range lanes {
		sum += l
	}
	for _, x := range v {
		sum += float32(x * x)
	}
	return float32(math.Sqrt(float64(sum)))
}
