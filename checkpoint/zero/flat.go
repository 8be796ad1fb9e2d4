package zero

import (
	"iter"
	"slices"

	"github.com/safeckpt/safeckpt/internal/pickle"
)

// A piece is a run of bytes of a file.
type piece struct {
	file   int
	off, n int64
}

// A flat is a vector of elements whose parts lie in several places.
type flat struct {
	parts []*stored
	ends  []int64 // of each part, in elements of the vector
}

func (f *flat) add(st *stored) {
	f.parts = append(f.parts, st)
	f.ends = append(f.ends, f.len()+st.numel)
}

func (f *flat) len() int64 {
	if len(f.ends) == 0 {
		return 0
	}
	return f.ends[len(f.ends)-1]
}

// appendPieces appends where the elements [begin, end) are, which must be inside
// the vector.
func (f *flat) appendPieces(dst []piece, begin, end int64) []piece {
	i, _ := slices.BinarySearch(f.ends, begin+1) // the part that holds begin
	for ; begin < end; i++ {
		part, start := f.parts[i], f.ends[i]-f.parts[i].numel
		stop := min(end, f.ends[i])
		if stop > begin {
			size := part.dtype.Size()
			dst = append(dst, piece{part.file, part.offset + (begin-start)*size, (stop - begin) * size})
			begin = stop
		}
	}
	return dst
}

// origin says where a tensor comes from.
type origin uint8

const (
	trainable origin = iota
	frozen
	buffer
	alias
	expert
)

// A tensor is one of the result, and where its bytes are.
type tensor struct {
	name   string
	shape  []int64
	numel  int64
	dtype  pickle.DType // of the pieces
	swap   bool         // the pieces are big-endian
	pieces []piece
	stride *stored  // the elements have to be gathered; pieces is nil
	chunks []*chunk // cut along several dimensions; pieces is nil
	origin origin
	of     string // the name that an alias is tied to
}

// whole makes a tensor of one that is stored whole.
func whole(name string, st *stored, o origin) *tensor {
	t := &tensor{name: name, shape: st.shape, numel: st.numel, dtype: st.dtype, swap: st.swap, origin: o}
	switch {
	case st.numel == 0:
	case st.stride != nil:
		t.stride = st
	default:
		t.pieces = []piece{{st.file, st.offset, st.numel * st.dtype.Size()}}
	}
	return t
}

// sources yields the files that the tensor is read from, some of them twice.
func (t *tensor) sources() iter.Seq[int] {
	return func(yield func(int) bool) {
		if t.stride != nil {
			yield(t.stride.file)
			return
		}
		for _, c := range t.chunks {
			if !yield(c.data.file) {
				return
			}
		}
		for _, p := range t.pieces {
			if !yield(p.file) {
				return
			}
		}
	}
}

// A plan is the result: a later tensor of a name takes the place of an earlier
// one, as in a Python dict.
type plan struct {
	list   []*tensor
	byName map[string]int
}

func newPlan() *plan { return &plan{byName: make(map[string]int)} }

func (p *plan) get(name string) *tensor {
	if i, ok := p.byName[name]; ok {
		return p.list[i]
	}
	return nil
}

func (p *plan) put(t *tensor) {
	if i, ok := p.byName[t.name]; ok {
		p.list[i] = t
		return
	}
	p.byName[t.name] = len(p.list)
	p.list = append(p.list, t)
}
