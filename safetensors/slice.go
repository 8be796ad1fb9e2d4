package safetensors

import (
	"errors"
	"fmt"
	"math"

	"github.com/safeckpt/safeckpt/diag"
)

// ErrSubByte means that a slice of a sub-byte type would start or end inside a
// byte.
var ErrSubByte = errors.New("safetensors: the slice does not consist of whole bytes")

// Begin and End stand for a bound of Span that is left out: as start Begin, as
// stop End, whichever way the step goes, as in numpy.
const (
	Begin = math.MinInt64
	End   = math.MaxInt64
)

// An Index says what to take of one dimension. Its zero value is All.
type Index struct {
	kind              indexKind
	start, stop, step int64
}

type indexKind uint8

const (
	indexAll indexKind = iota
	indexSpan
	indexAt
)

// All takes the whole dimension, as : does in numpy.
func All() Index { return Index{} }

// At takes element i and drops the dimension, as [i] does in numpy; a negative i
// counts from the end.
func At(i int64) Index { return Index{kind: indexAt, start: i} }

// Span takes the elements from start up to but not including stop, as start:stop
// does in numpy: negative bounds count from the end, and bounds outside of the
// dimension are moved to its ends.
func Span(start, stop int64) Index { return Index{kind: indexSpan, start: start, stop: stop} }

// By takes every step-th element, as ::step does in numpy: a negative step goes
// backwards, so that All().By(-1) reverses. It means nothing for At.
func (x Index) By(step int64) Index {
	if x.kind == indexAll {
		x = Span(Begin, End)
	}
	x.step = step
	if step == 0 {
		x.step = math.MinInt64 // told apart from a step that was not given
	}
	return x
}

// resolve returns which elements of a dimension are taken: count of them, from
// start, step apart.
func (x Index) resolve(dim int64) (start, step, count int64, err error) {
	switch x.kind {
	case indexAll:
		return 0, 1, dim, nil
	case indexAt:
		i := x.start
		if i < 0 {
			i += dim
		}
		if i < 0 || i >= dim {
			return 0, 0, 0, fmt.Errorf("index %d is outside of its %d elements", x.start, dim)
		}
		return i, 1, 1, nil
	}
	step = x.step
	switch step {
	case 0:
		step = 1
	case math.MinInt64:
		return 0, 0, 0, errors.New("a step of 0")
	}
	// As Python's slice.indices: a bound is clamped to what the direction allows.
	lo, hi := int64(0), dim
	if step < 0 {
		lo, hi = -1, dim-1
	}
	clamp := func(i int64) int64 {
		if i < 0 {
			i += dim
		}
		return min(max(i, lo), hi)
	}
	first, last := lo, hi
	if step < 0 {
		first, last = hi, lo
	}
	stop := last
	if start = first; x.start != Begin {
		start = clamp(x.start)
	}
	if x.stop != End {
		stop = clamp(x.stop)
	}
	switch {
	case step > 0 && start < stop:
		count = (stop-start-1)/step + 1
	case step < 0 && start > stop:
		count = (start-stop-1)/-step + 1
	}
	return start, step, count, nil
}

// A Slice is a part of a tensor. Like a Tensor it is a small value, safe for
// concurrent use, that reads the file when its elements are asked for.
type Slice struct {
	t     Tensor
	shape []uint64
	// The bytes are runs of equal length: the first at base in the tensor, the
	// others along dims, the last of which varies fastest.
	base, run int64
	dims      []strides
}

// strides are the runs along one dimension, count of them, bytes apart.
type strides struct{ bytes, count int64 }

// Slice takes a part of t as numpy's basic indexing does: one Index for each
// dimension from the outermost on; dimensions without one are taken whole.
// No data is read.
//
// Sub-byte types can be sliced where every contiguous piece begins and ends on a
// byte, else the error matches ErrSubByte; safetensors 0.8.0 has the same rule
// (MisalignedSlice). That crate refuses bounds outside of a dimension and steps
// below 1; this follows numpy.
func (t Tensor) Slice(at ...Index) (Slice, error) {
	s := Slice{t: t}
	if err := s.resolve(at); err != nil {
		return Slice{}, fmt.Errorf("safetensors: slicing %s of shape %s: %w", diag.Name(t.info.Name), shapeText(t.info.Shape), err)
	}
	return s, nil
}

func (s *Slice) resolve(at []Index) error {
	shape := s.t.info.Shape
	if len(at) > len(shape) {
		return fmt.Errorf("%d indexes for %d dimensions", len(at), len(shape))
	}
	s.shape = []uint64{}
	resolved := make([]struct{ start, step, count int64 }, len(shape))
	empty := false
	for i, dim := range shape {
		if dim > math.MaxInt64 {
			return fmt.Errorf("dimension %d exceeds 2^63-1", i)
		}
		var x Index
		if i < len(at) {
			x = at[i]
		}
		r, err := &resolved[i], error(nil)
		if r.start, r.step, r.count, err = x.resolve(int64(dim)); err != nil {
			return fmt.Errorf("dimension %d: %w", i, err)
		}
		if x.kind != indexAt {
			s.shape = append(s.shape, uint64(r.count))
		}
		empty = empty || r.count == 0
	}
	if empty {
		return nil
	}
	// In bits. Nothing overflows: the tensor has elements and lies in the file,
	// and what is taken lies in the tensor.
	run := int64(s.t.info.DType.Bits())
	base, inner, whole := int64(0), run, true // whole: the run is all of the dimensions so far
	var dims []strides
	for i := len(shape) - 1; i >= 0; i-- {
		r, dim := resolved[i], int64(shape[i])
		base += r.start * inner
		switch {
		case r.count == 1:
		case whole && r.step == 1:
			run *= r.count
		default:
			dims = append(dims, strides{r.step * inner, r.count})
		}
		whole = whole && r.count == dim && r.step == 1
		inner *= dim
	}
	s.base, s.run = base/8, run/8
	bits := base | run
	for i := len(dims) - 1; i >= 0; i-- {
		bits |= dims[i].bytes
		s.dims = append(s.dims, strides{dims[i].bytes / 8, dims[i].count})
	}
	if bits&7 != 0 {
		return fmt.Errorf("%w: %s has %d bits an element, and a piece of it would begin or end inside a byte",
			ErrSubByte, s.t.info.DType, s.t.info.DType.Bits())
	}
	return nil
}

// Info returns the name and dtype of the tensor with the shape of the slice.
// Begin is 0 and End the number of bytes. Shape must not be modified.
func (s Slice) Info() TensorInfo {
	n := uint64(s.run)
	for _, d := range s.dims {
		n *= uint64(d.count)
	}
	return TensorInfo{Name: s.t.info.Name, DType: s.t.info.DType, Shape: s.shape, End: n}
}

// Contiguous reports whether the slice is one piece of the file, so that Bytes
// can give it.
func (s Slice) Contiguous() bool { return len(s.dims) == 0 }

// Bytes returns the slice's bytes in the mapped file, without a copy, as
// Tensor.Bytes does. If the slice is not contiguous the error matches
// ErrNotContiguous.
func (s Slice) Bytes() ([]byte, error) {
	if !s.Contiguous() {
		return nil, ErrNotContiguous
	}
	data, err := s.t.Bytes()
	if err != nil {
		return nil, err
	}
	end := s.base + s.run
	return data[s.base:end:end], nil
}

// ErrNotContiguous means that a slice is not one piece of the file, so that its
// bytes cannot be had without a copy.
var ErrNotContiguous = errors.New("safetensors: the slice is not contiguous")
