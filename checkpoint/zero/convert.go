package zero

import (
	"encoding/binary"
	"io"
	"math"
	"slices"

	"github.com/x448/float16"

	"github.com/safeckpt/safeckpt/internal/pickle"
	"github.com/safeckpt/safeckpt/safetensors"
)

// A converter copies parts of tensors and keeps its buffers between them.
type converter struct {
	files  sources
	in     []byte
	floats []float32
	enc    []byte
}

// blockElements is how many elements are converted at once.
const blockElements = 128 << 10

func newConverter(files sources) *converter { return &converter{files: files} }

// run does a job and returns how many bytes it wrote.
func (c *converter) run(j job) (int64, error) {
	if j.gather {
		return c.gather(j)
	}
	size := j.t.dtype.Size()
	if !j.t.swap && j.t.dtype.HeaderName() == j.d.String() {
		return j.w.CopyAt(c.files[j.piece.file], j.piece.off, j.piece.n, j.at*size)
	}
	written := int64(0)
	for done := int64(0); done < j.piece.n; {
		n := min(j.piece.n-done, blockElements*size)
		c.in = slices.Grow(c.in[:0], int(n))[:n]
		if err := readFull(c.files[j.piece.file], c.in, j.piece.off+done); err != nil {
			return written, err
		}
		k, err := c.write(j, j.at+done/size)
		written += int64(k)
		if err != nil {
			return written, err
		}
		done += n
	}
	return written, nil
}

// write converts c.in, elements of the tensor from at on, and writes them.
func (c *converter) write(j job, at int64) (int, error) {
	if j.t.swap {
		swapBytes(c.in, int(j.t.dtype.Size()))
	}
	out := c.in
	if j.t.dtype.HeaderName() != j.d.String() {
		var err error
		c.floats = decode(c.floats[:0], j.t.dtype, c.in)
		if c.enc, err = safetensors.EncodeFloat32(c.enc[:0], j.d, c.floats); err != nil {
			return 0, err
		}
		out = c.enc
	}
	return j.w.WriteAt(out, at*int64(j.d.Bits()/8))
}

// decode appends the elements of a float dtype that isFloat knows.
func decode(dst []float32, d pickle.DType, src []byte) []float32 {
	switch d.HeaderName() {
	case "F64":
		for ; len(src) >= 8; src = src[8:] {
			dst = append(dst, float32(math.Float64frombits(binary.LittleEndian.Uint64(src))))
		}
	case "F32":
		for ; len(src) >= 4; src = src[4:] {
			dst = append(dst, math.Float32frombits(binary.LittleEndian.Uint32(src)))
		}
	case "F16":
		for ; len(src) >= 2; src = src[2:] {
			dst = append(dst, float16.Frombits(binary.LittleEndian.Uint16(src)).Float32())
		}
	case "BF16":
		for ; len(src) >= 2; src = src[2:] {
			dst = append(dst, safetensors.BFloat16(binary.LittleEndian.Uint16(src)).Float32())
		}
	}
	return dst
}

func swapBytes(p []byte, size int) {
	for ; len(p) >= size; p = p[size:] {
		slices.Reverse(p[:size])
	}
}

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF:
		return io.ErrUnexpectedEOF // cut since it was looked at
	}
	return err
}

// gather copies a tensor whose elements do not lie end to end, such as a
// transposed one, in the order of its indexes.
func (c *converter) gather(j job) (int64, error) {
	st := j.t.stride
	size := st.dtype.Size()
	src := newWindow(c.files[st.file], st.offset, extent(st)*size)
	index := make([]int64, len(st.shape))
	written, off := int64(0), int64(0) // off is in elements from the first
	for at := int64(0); at < st.numel; {
		n := min(st.numel-at, blockElements)
		c.in = slices.Grow(c.in[:0], int(n*size))[:n*size]
		for i := range n {
			if err := src.read(c.in[i*size:(i+1)*size], off*size); err != nil {
				return written, err
			}
			for d := len(index) - 1; d >= 0; d-- {
				index[d]++
				off += st.stride[d]
				if index[d] < st.shape[d] {
					break
				}
				off -= index[d] * st.stride[d]
				index[d] = 0
			}
		}
		k, err := c.write(j, at)
		written += int64(k)
		if err != nil {
			return written, err
		}
		at += n
	}
	return written, nil
}

// extent returns how many elements lie between the first and the last of a
// strided tensor, both included.
func extent(st *stored) int64 {
	n := int64(1)
	for d, size := range st.shape {
		n += (size - 1) * st.stride[d]
	}
	return n
}

// A window reads small parts of a file at random. Of a short file it keeps all,
// of a long one as many blocks as rows of a matrix are usually long.
type window struct {
	r          io.ReaderAt
	base, size int64
	blocks     map[int64][]byte
	order      []int64 // of the blocks, oldest first
}

const (
	windowBlock  = 4 << 10
	windowBlocks = 4096
)

func newWindow(r io.ReaderAt, base, size int64) *window {
	return &window{r: r, base: base, size: size, blocks: make(map[int64][]byte)}
}

// read fills p, an element, from off on.
func (w *window) read(p []byte, off int64) error {
	for len(p) > 0 {
		at := off / windowBlock
		block, ok := w.blocks[at]
		if !ok {
			if len(w.order) == windowBlocks {
				block = w.blocks[w.order[0]][:0]
				delete(w.blocks, w.order[0])
				w.order = w.order[1:]
			}
			n := min(windowBlock, w.size-at*windowBlock)
			block = slices.Grow(block, windowBlock)[:n]
			if err := readFull(w.r, block, w.base+at*windowBlock); err != nil {
				return err
			}
			w.blocks[at] = block
			w.order = append(w.order, at)
		}
		n := copy(p, block[off-at*windowBlock:])
		p, off = p[n:], off+int64(n)
	}
	return nil
}
