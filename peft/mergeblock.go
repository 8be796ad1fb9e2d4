package peft

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/x448/float16"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/lowrank"
	"github.com/safeckpt/safeckpt/safetensors"
)

const (
	// blockBytes is about how much of a tensor is edited at a time: what fits into a
	// processor's second cache with the factors.
	blockBytes = 512 << 10
	// maxBlockRows bounds the rows of a block whose columns are few.
	maxBlockRows = 4096
	// tileRows is how many rows are multiplied with one panel at a time.
	tileRows = 32
)

// A mergeBlock is some rows of a tensor that one goroutine edits, with its scratch
// memory.
type mergeBlock struct {
	row, rows, cols uint64 // the first row, and how many
	dtype           safetensors.DType
	data            []byte // as in a file, or, between read and write, the machine's

	buf, in     lowrank.Buffer
	tile, tile2 []float32
	lefts       []float32
	sums        [3][]float32
}

func newMergeBlock() *mergeBlock {
	return &mergeBlock{tile: make([]float32, tileRows*lowrank.Panel), tile2: make([]float32, tileRows*lowrank.Panel)}
}

// blockRows is how many rows of a tensor a block has.
func (t *mergeTarget) blockRows() uint64 {
	row := max(t.cols*uint64(t.info.DType.Bits()/8), 1)
	return min(max(blockBytes/row, 1), maxBlockRows)
}

// read fills the block with rows of a tensor, converted to the dtype that it will
// have.
func (b *mergeBlock) read(t *mergeTarget, row, rows uint64) error {
	b.row, b.rows, b.cols, b.dtype = row, rows, t.cols, t.info.DType
	from := t.from.Info().DType
	size, sizeIn := uint64(b.dtype.Bits()/8), uint64(from.Bits()/8)
	n := rows * t.cols
	b.data = b.buf.Bytes(int(n * size))
	in := b.data
	if from != b.dtype {
		in = b.in.Bytes(int(n * sizeIn))
	}
	if _, err := t.from.Open().ReadAt(in, int64(row*t.cols*sizeIn)); err != nil && err != io.EOF {
		return err
	}
	if from != b.dtype {
		var err error
		if b.sums[0], err = safetensors.DecodeFloat32(b.sums[0][:0], from, in); err != nil {
			return err
		}
		// Of the capacity that the block has, so nothing is allocated.
		if _, err = safetensors.EncodeFloat32(b.data[:0], b.dtype, b.sums[0]); err != nil {
			return err
		}
	}
	lowrank.Native(b.data, int(size))
	return nil
}

// bytes returns the block as it is to be written. It cannot be edited afterwards.
func (b *mergeBlock) bytes() []byte {
	lowrank.Native(b.data, b.dtype.Bits()/8)
	return b.data
}

// left returns scratch memory for the rows of a left factor.
func (b *mergeBlock) left(n uint64) []float32 {
	return grow(&b.lefts, n)
}

// scratch returns memory for rows, which read uses too; scratch2 and scratch3 return
// other memory.
func (b *mergeBlock) scratch(n uint64) []float32  { return grow(&b.sums[0], n) }
func (b *mergeBlock) scratch2(n uint64) []float32 { return grow(&b.sums[1], n) }
func (b *mergeBlock) scratch3(n uint64) []float32 { return grow(&b.sums[2], n) }

func grow(v *[]float32, n uint64) []float32 {
	*v = slices.Grow((*v)[:0], int(n))[:n]
	return *v
}

// add adds s*p to the n elements from one on, in the way of lowrank.AddBF16.
func (b *mergeBlock) add(from, n uint64, p []float32, s float32, twice bool) (finite bool) {
	p = p[:n]
	switch b.dtype {
	case safetensors.BF16:
		return lowrank.AddBF16(lowrank.Uint16s(b.data)[from:from+n], p, s, twice)
	case safetensors.F16:
		return lowrank.AddF16(lowrank.Uint16s(b.data)[from:from+n], p, s, twice)
	}
	return lowrank.AddF32(lowrank.Float32s(b.data)[from:from+n], p, s)
}

// floats fills dst with the elements from one on.
func (b *mergeBlock) floats(dst []float32, from uint64) {
	switch b.dtype {
	case safetensors.BF16:
		for i, w := range lowrank.Uint16s(b.data)[from:][:len(dst)] {
			dst[i] = safetensors.BFloat16(w).Float32()
		}
	case safetensors.F16:
		for i, w := range lowrank.Uint16s(b.data)[from:][:len(dst)] {
			dst[i] = float16.Frombits(w).Float32()
		}
	default:
		copy(dst, lowrank.Float32s(b.data)[from:])
	}
}

// set rounds v into the elements from one on.
func (b *mergeBlock) set(from uint64, v []float32) (finite bool) {
	finite = true
	switch b.dtype {
	case safetensors.BF16:
		w := lowrank.Uint16s(b.data)[from:][:len(v)]
		for i, x := range v {
			w[i] = uint16(safetensors.BFloat16FromFloat32(x))
			finite = finite && w[i]&0x7f80 != 0x7f80
		}
	case safetensors.F16:
		w := lowrank.Uint16s(b.data)[from:][:len(v)]
		for i, x := range v {
			w[i] = float16.Fromfloat32(x).Bits()
			finite = finite && w[i]&0x7c00 != 0x7c00
		}
	default:
		copy(lowrank.Float32s(b.data)[from:], v)
		for _, x := range v {
			finite = finite && x-x == 0
		}
	}
	return finite
}

// A factorReader reads the tensors of the adapter as float32, and keeps the last
// few: experts have theirs in common.
type factorReader struct {
	ctx   context.Context
	block *mergeBlock
	kept  []keptFactor
}

type keptFactor struct {
	tensor safetensors.Tensor
	floats []float32
}

// maxKept is how many factors are kept: A and B of two parameters of one module.
const maxKept = 4

func (r *factorReader) floats(t safetensors.Tensor) ([]float32, error) {
	for _, k := range r.kept {
		if k.tensor == t {
			return k.floats, nil
		}
	}
	if err := r.ctx.Err(); err != nil {
		return nil, err
	}
	v, err := safetensors.AppendFloat32(nil, t)
	if err != nil {
		return nil, fmt.Errorf("peft: tensor %s: %w", diag.Name(t.Info().Name), err)
	}
	if len(r.kept) == maxKept {
		r.kept = slices.Delete(r.kept, 0, 1)
	}
	r.kept = append(r.kept, keptFactor{t, v})
	return v, nil
}

// all returns several tensors.
func (r *factorReader) all(tensors ...safetensors.Tensor) (out [][]float32, err error) {
	for _, t := range tensors {
		v, err := r.floats(t)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// blocks calls fn with all blocks of a tensor, before they are edited.
func (r *factorReader) blocks(t *mergeTarget, fn func(b *mergeBlock)) error {
	for row := uint64(0); row < t.rows; row += t.blockRows() {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if err := r.block.read(t, row, min(t.blockRows(), t.rows-row)); err != nil {
			return err
		}
		fn(r.block)
	}
	return nil
}
