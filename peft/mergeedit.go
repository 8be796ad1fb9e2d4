package peft

import (
	"errors"
	"fmt"
	"math"

	"github.com/safeckpt/safeckpt/internal/lowrank"
	"github.com/safeckpt/safeckpt/safetensors"
)

// A mergeEdit changes rows of a tensor of the base.
type mergeEdit interface {
	// fit holds the edit against the tensor, whose cols it may set, before anything
	// is read.
	fit(t *mergeTarget) error
	// span returns the rows [from, to) that it changes.
	span(t *mergeTarget) (from, to uint64)
	// prepare reads what it needs, and returns the function that makes the edit. That
	// is called for blocks within the span, by several goroutines. It reports
	// whether all results are finite.
	prepare(r *factorReader, t *mergeTarget) (func(b *mergeBlock) (finite bool), error)
}

// A lowRank adds scaling*B*A, or its transpose, to rows of a matrix.
type lowRank struct {
	a, b safetensors.Tensor // [rank*experts, in...] and [out, rank*experts...]
	region
	rank, experts uint64
	transposed    bool // the matrix is [in,out]
	conv          bool // the matrix is [out,in,kernel...]
	twice         bool // the product is rounded before it is added
	scaling       float32
}

// maxRowElements bounds what is held in memory at least.
const maxRowElements = 1 << 28

// product says what shapes the factors have.
type product struct{ rows, cols uint64 }

func elements(shape []uint64) uint64 {
	n := uint64(1)
	for _, d := range shape {
		n *= d // of a tensor, whose bytes have been counted
	}
	return n
}

func (e *lowRank) product() (product, error) {
	a, b := e.a.Info().Shape, e.b.Info().Shape
	if len(a) < 2 || len(b) < 2 || e.rank == 0 || e.experts == 0 || e.rank > math.MaxInt32 || e.experts > math.MaxInt32 {
		return product{}, errNoFit
	}
	k := e.rank * e.experts
	in, out := elements(a[1:]), b[0]
	if a[0] != k || elements(b[1:]) != k || in == 0 || out == 0 || in > math.MaxInt32 || out > math.MaxInt32 {
		return product{}, errNoFit
	}
	if e.transposed {
		return product{in, out}, nil
	}
	return product{out, in}, nil
}

func (e *lowRank) fit(t *mergeTarget) error {
	p, err := e.product()
	if err != nil {
		return err
	}
	if e.region == (region{}) || e.region.rows == 0 { // the whole tensor
		e.region = region{rows: p.rows}
	}
	if t.cols > maxRowElements {
		return fmt.Errorf("rows of %d elements", t.cols)
	}
	if e.conv {
		if len(t.info.Shape) < 3 {
			return errNoFit
		}
		if t.info.Shape[1] != e.a.Info().Shape[1] {
			return errors.New("a convolution of several groups, which PEFT cannot merge either")
		}
		if len(t.edits) > 0 && t.rows != t.info.Shape[0] {
			return errNoFit
		}
		t.rows = t.info.Shape[0]
		t.cols = t.info.Elements() / t.rows
	}
	switch {
	case p.cols != t.cols, e.from+e.region.rows > p.rows, e.at+e.region.rows > t.rows, e.expert >= e.experts:
		return fmt.Errorf("shape %v: the adapter's product is [%d,%d]", t.info.Shape, p.rows, p.cols)
	}
	return nil
}

func (e *lowRank) span(*mergeTarget) (from, to uint64) { return e.at, e.at + e.region.rows }

// factors are a lowRank's two, ready to be multiplied.
type factors struct {
	left  func(b *mergeBlock, row, n uint64) []float32 // n rows of the left one, from a row of the tensor on
	right *lowrank.Right
}

func (e *lowRank) read(r *factorReader) (*factors, error) {
	a, err := r.floats(e.a)
	if err != nil {
		return nil, err
	}
	b, err := r.floats(e.b)
	if err != nil {
		return nil, err
	}
	p, err := e.product()
	if err != nil {
		return nil, err
	}
	k := e.rank * e.experts // of which those of the expert count
	first := e.expert * e.rank
	f := &factors{right: lowrank.NewRight(int(e.rank), int(p.cols))}
	in, out := e.a.Info().Elements()/k, e.b.Info().Elements()/k
	plain := !e.conv || in == e.a.Info().Shape[1] // else it is computed as a convolution
	f.right.Separate = plain && e.experts == 1 && lowrank.Small(int(out), int(in))
	if e.transposed {
		for j := range p.cols {
			for i := range e.rank {
				f.right.Set(int(i), int(j), b[j*k+i*e.experts+e.expert])
			}
		}
		f.left = func(block *mergeBlock, row, n uint64) []float32 {
			out := block.left(n * e.rank)
			for i := range e.rank {
				for o, v := range a[(first+i)*in+row-e.at+e.from:][:n] {
					out[uint64(o)*e.rank+i] = v
				}
			}
			return out
		}
		return f, nil
	}
	for i := range e.rank {
		f.right.SetRow(int(i), a[(first+i)*p.cols:][:p.cols])
	}
	f.left = func(block *mergeBlock, row, n uint64) []float32 {
		rows := b[(row-e.at+e.from)*k:][:n*k]
		if e.experts == 1 {
			return rows
		}
		out := block.left(n * e.rank) // ranks vary slower than experts
		for o := range n {
			for i := range e.rank {
				out[o*e.rank+i] = rows[o*k+i*e.experts+e.expert]
			}
		}
		return out
	}
	return f, nil
}

func (e *lowRank) prepare(r *factorReader, t *mergeTarget) (func(b *mergeBlock) bool, error) {
	f, err := e.read(r)
	if err != nil {
		return nil, err
	}
	return func(b *mergeBlock) bool {
		finite := true
		left := f.left(b, b.row, b.rows)
		for panel := range f.right.Panels() {
			for row := uint64(0); row < b.rows; row += tileRows {
				n := min(tileRows, b.rows-row)
				tile := b.tile[:n*lowrank.Panel]
				lowrank.Multiply(tile, left[row*e.rank:], f.right, panel, b.tile2)
				for i := range n {
					from := (row+i)*b.cols + uint64(panel)*lowrank.Panel
					w := min(lowrank.Panel, (row+i+1)*b.cols-from)
					finite = b.add(from, w, tile[i*lowrank.Panel:], e.scaling, e.twice) && finite
				}
			}
		}
		return finite
	}, nil
}

// A biasEdit adds scaling*lora_B.bias to a bias.
type biasEdit struct {
	from    safetensors.Tensor
	scaling float32
}

func (e *biasEdit) fit(t *mergeTarget) error {
	if e.from.Info().Elements() != t.info.Elements() {
		return errNoFit
	}
	return nil
}

func (e *biasEdit) span(t *mergeTarget) (from, to uint64) { return 0, t.rows }

func (e *biasEdit) prepare(r *factorReader, t *mergeTarget) (func(b *mergeBlock) bool, error) {
	v, err := r.floats(e.from)
	return func(b *mergeBlock) bool {
		return b.add(0, b.rows*b.cols, v[b.row*b.cols:], e.scaling, false)
	}, err
}

// A rowsEdit replaces single rows.
type rowsEdit struct {
	ids  []uint64
	from safetensors.Tensor // [ids, cols]
}

func (e *rowsEdit) fit(t *mergeTarget) error {
	shape := e.from.Info().Shape
	if len(shape) != 2 || shape[0] != uint64(len(e.ids)) || shape[1] != t.cols {
		return errNoFit
	}
	for _, id := range e.ids {
		if id >= t.rows {
			return fmt.Errorf("it has %d rows, and row %d was trained", t.rows, id)
		}
	}
	return nil
}

func (e *rowsEdit) span(t *mergeTarget) (from, to uint64) { return 0, t.rows }

func (e *rowsEdit) prepare(r *factorReader, t *mergeTarget) (func(b *mergeBlock) bool, error) {
	v, err := r.floats(e.from)
	return func(b *mergeBlock) bool {
		finite := true
		for i, id := range e.ids {
			if id >= b.row && id < b.row+b.rows {
				finite = b.set((id-b.row)*b.cols, v[uint64(i)*b.cols:][:b.cols]) && finite
			}
		}
		return finite
	}, err
}
