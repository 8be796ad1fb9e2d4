package peft

import (
	"github.com/safeckpt/safeckpt/internal/lowrank"
	"github.com/safeckpt/safeckpt/safetensors"
)

// A denseEdit changes a weight row by row, in float32, and rounds the result.
type denseEdit struct {
	// read reads the factors and returns what changes rows of the weight.
	read  func(r *factorReader, t *mergeTarget) (rowsEditor, error)
	check func(t *mergeTarget) bool // the shapes
	conv  bool                      // the matrix is [out,in,kernel...]
}

// A rowsEditor changes n rows of a weight, from one of the tensor's on.
type rowsEditor func(b *mergeBlock, row, n uint64, w []float32)

// adding returns what adds the rows that fill computes.
func adding(fill rowsEditor) rowsEditor {
	return func(b *mergeBlock, row, n uint64, w []float32) {
		v := b.scratch2(uint64(len(w)))
		fill(b, row, n, v)
		for i, x := range v {
			w[i] += x
		}
	}
}

func (e *denseEdit) fit(t *mergeTarget) error {
	if e.conv && len(t.info.Shape) > 2 && len(t.edits) == 0 {
		t.rows = t.info.Shape[0]
		t.cols = t.info.Elements() / t.rows
	}
	if t.cols > maxRowElements || !e.check(t) {
		return errNoFit
	}
	return nil
}

func (e *denseEdit) span(t *mergeTarget) (from, to uint64) { return 0, t.rows }

func (e *denseEdit) prepare(r *factorReader, t *mergeTarget) (func(b *mergeBlock) bool, error) {
	change, err := e.read(r, t)
	if err != nil {
		return nil, err
	}
	return func(b *mergeBlock) bool {
		finite := true
		for row := uint64(0); row < b.rows; row += eightRows {
			n := min(eightRows, b.rows-row)
			w := b.scratch(n * b.cols)
			b.floats(w, row*b.cols)
			change(b, b.row+row, n, w)
			finite = b.set(row*b.cols, w) && finite
		}
		return finite
	}, nil
}

// eightRows is how many rows are computed at a time where whole rows are needed.
const eightRows = 8

// A matProduct is the product of two matrices in memory, [rows,k] and [k,cols].
type matProduct struct {
	left  []float32
	right *lowrank.Right
}

// newProduct multiplies a [rows,k] by b [k,cols] or, if transposed, the transpose of
// that.
func newProduct(a, b []float32, rows, k, cols uint64, transposed bool) *matProduct {
	m := &matProduct{left: a}
	if !transposed {
		m.right = lowrank.NewRight(int(k), int(cols))
		for i := range k {
			m.right.SetRow(int(i), b[i*cols:][:cols])
		}
	} else {
		m.left = make([]float32, cols*k)
		m.right = lowrank.NewRight(int(k), int(rows))
		for i := range k {
			for j := range cols {
				m.left[j*k+i] = b[i*cols+j]
			}
			for j := range rows {
				m.right.Set(int(i), int(j), a[j*k+i])
			}
		}
	}
	m.right.Separate = lowrank.Small(int(rows), int(cols))
	return m
}

// rows fills out with rows of the product.
func (m *matProduct) rows(b *mergeBlock, row, n uint64, out []float32) {
	cols := uint64(m.right.Cols)
	for from := uint64(0); from < n; from += tileRows {
		count := min(tileRows, n-from)
		tile := b.tile[:count*lowrank.Panel]
		for panel := range m.right.Panels() {
			lowrank.Multiply(tile, m.left[(row+from)*uint64(m.right.Rank):], m.right, panel, b.tile2)
			for i := range count {
				copy(out[(from+i)*cols+uint64(panel)*lowrank.Panel:(from+i+1)*cols], tile[i*lowrank.Panel:][:lowrank.Panel])
			}
		}
	}
}

// asMatrix returns the shape of a tensor as a matrix, with all dimensions but the
// first as columns.
func asMatrix(t safetensors.Tensor) (rows, cols uint64) {
	shape := t.Info().Shape
	if len(shape) == 0 {
		return 1, 1
	}
	return shape[0], elements(shape[1:])
}

// tensors returns the tensors of a layer by their keys, or false, and a reason, if
// one is not there.
func (p *mergePlan) tensors(l *layer, keys ...string) ([]safetensors.Tensor, bool) {
	var out []safetensors.Tensor
	for _, key := range keys {
		e := p.check.modules[l.path][key]
		if e == nil {
			p.lack(l, key)
			return nil, false
		}
		out = append(out, p.file(e))
	}
	return out, true
}

// weight returns the name on disk of a layer's weight.
func (p *mergePlan) weight(l *layer) string { return p.disk.name(plainPath(l.path) + ".weight") }
