package zero

import (
	"encoding/binary"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/x448/float16"

	"github.com/safeckpt/safeckpt/safetensors"
)

// A converter copies parts of tensors and keeps its buffers between them.
type converter struct {
	files     sources
	gathering *sync.Mutex // of strided tensors, in one converter: a window takes memory
	in        []byte
	floats    []float32
	enc       []byte
}

// blockElements is how many elements are converted at once.
const blockElements = 128 << 10

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
	out, err := c.convert(j.t, j.d)
	if err != nil {
		return 0, err
	}
	return j.w.WriteAt(out, at*int64(j.d.Bits()/8))
}

// convert returns c.in, elements of t, as elements of d, little-endian. They are
// valid until the next call.
func (c *converter) convert(t *tensor, d safetensors.DType) (_ []byte, err error) {
	if t.swap {
		swapBytes(c.in, int(t.dtype.Size()))
	}
	if t.dtype.HeaderName() == d.String() {
		return c.in, nil
	}
	c.floats = decode(c.floats[:0], t.dtype.HeaderName(), c.in)
	c.enc, err = safetensors.EncodeFloat32(c.enc[:0], d, c.floats)
	return c.enc, err
}

// decode appends the elements of a float dtype that isFloat knows.
func decode(dst []float32, dtype string, src []byte) []float32 {
	switch dtype {
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

// gather copies a tensor whose elements do not lie end to end in the files.
func (c *converter) gather(j job) (written int64, err error) {
	if j.t.stride != nil {
		c.gathering.Lock()
		defer c.gathering.Unlock()
	}
	size := j.t.dtype.Size()
	src := j.t.open(c.files)
	for at := int64(0); at < j.t.numel; {
		n := min(j.t.numel-at, blockElements)
		c.in = slices.Grow(c.in[:0], int(n*size))[:n*size]
		if _, err := io.ReadFull(src, c.in); err != nil {
			return written, err
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
