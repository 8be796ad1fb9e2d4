package safetensors

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/safeckpt/safeckpt/diag"
)

const (
	// gatherBlock is how much is read at a time to pick small runs from.
	gatherBlock = 256 << 10
	// gatherGap is how many bytes between two runs are read for nothing rather
	// than with a second read.
	gatherGap = 8 << 10
)

// ReadInto reads the slice into dst, in row-major order; dst must have exactly
// its length in bytes. Small pieces that lie close together are read at once.
func (s Slice) ReadInto(ctx context.Context, dst []byte) error {
	info := s.Info()
	if uint64(len(dst)) != info.Bytes() {
		return fmt.Errorf("safetensors: the slice of %s takes %d bytes, dst has %d", diag.Name(info.Name), info.Bytes(), len(dst))
	}
	r := s.Open()
	for len(dst) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, dst[:min(len(dst), 16<<20)])
		if err != nil {
			return err
		}
		dst = dst[n:]
	}
	return nil
}

// Open returns a new reader of the slice's bytes, in row-major order. It holds a
// buffer of at most 256 KiB and is not safe for concurrent use.
func (s Slice) Open() io.Reader {
	r := &sliceReader{src: s.t.Open(), run: s.run, walk: walk{dims: s.dims, at: make([]int64, len(s.dims)), offset: s.base}}
	if s.run == 0 {
		r.walk.done = true
	}
	return r
}

func (s Slice) reader() io.Reader { return s.Open() }

// A walk visits the offsets of the runs, in the order of the slice.
type walk struct {
	dims   []strides
	at     []int64 // how far along each of dims
	offset int64
	done   bool
}

func (w *walk) next() {
	for i := len(w.dims) - 1; i >= 0; i-- {
		d := w.dims[i]
		if w.at[i]++; w.at[i] < d.count {
			w.offset += d.bytes
			return
		}
		w.offset -= (d.count - 1) * d.bytes
		w.at[i] = 0
	}
	w.done = true
}

type sliceReader struct {
	src   io.ReaderAt
	run   int64
	walk  walk  // the run that is being read
	taken int64 // bytes of it that have been

	ahead walk   // scratch of fill
	buf   []byte // what lies at start in the tensor
	start int64
}

func (r *sliceReader) Read(p []byte) (n int, err error) {
	for len(p) > 0 && !r.walk.done {
		from, size := r.walk.offset+r.taken, r.run-r.taken
		block := p[:min(size, int64(len(p)))]
		if r.run > gatherBlock/2 {
			if _, err := r.src.ReadAt(block, from); err != nil {
				return n, unexpected(err)
			}
		} else {
			if from < r.start || from+size > r.start+int64(len(r.buf)) {
				if err := r.fill(); err != nil {
					return n, err
				}
			}
			copy(block, r.buf[from-r.start:])
		}
		n, p = n+len(block), p[len(block):]
		if r.taken += int64(len(block)); r.taken == r.run {
			r.taken = 0
			r.walk.next()
		}
	}
	if r.walk.done && n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// fill reads the run at hand together with those after it that lie close.
func (r *sliceReader) fill() error {
	lo, hi := r.walk.offset, r.walk.offset+r.run
	at := append(r.ahead.at[:0], r.walk.at...)
	r.ahead = r.walk
	r.ahead.at = at
	for r.ahead.next(); !r.ahead.done; r.ahead.next() {
		from, to := r.ahead.offset, r.ahead.offset+r.run
		if from > hi+gatherGap || to < lo-gatherGap || max(hi, to)-min(lo, from) > gatherBlock {
			break
		}
		lo, hi = min(lo, from), max(hi, to)
	}
	r.buf, r.start = slices.Grow(r.buf[:0], int(hi-lo))[:hi-lo], lo
	if _, err := r.src.ReadAt(r.buf, lo); err != nil {
		r.buf = r.buf[:0]
		return unexpected(err)
	}
	return nil
}

// unexpected makes an end of the file inside of a tensor an error of its own.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
