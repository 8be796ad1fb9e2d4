package zero

import (
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// A converter copies parts of tensors and keeps its buffers between them.
type converter struct {
	files     sources
	gathering *sync.Mutex // of strided tensors, in one converter: a window takes memory
	in        []byte
	floats    []float32
	out       []byte
}

const (
	blockElements = 256 << 10 // how many are read at once
	floatElements = 16 << 10  // and converted: what the processor's cache holds three times
)

// run does a job and returns how many bytes it wrote.
func (c *converter) run(j job) (int64, error) {
	if j.gather {
		return c.gather(j)
	}
	size := j.t.dtype.Size()
	if from, _ := j.t.headerDType(); from == j.d && !j.t.swap {
		return j.w.CopyAt(c.files[j.piece.file], j.piece.off, j.piece.n, j.at*size)
	}
	written := int64(0)
	for done := int64(0); done < j.piece.n; {
		n := min(j.piece.n-done, blockElements*size)
		c.in = slices.Grow(c.in[:0], int(n))[:n]
		if err := readFull(c.files[j.piece.file], c.in, j.piece.off+done); err != nil {
			return written, fmt.Errorf("tensor %s: %w", diag.Name(j.t.name), err)
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
func (c *converter) convert(t *tensor, d safetensors.DType) ([]byte, error) {
	size := int(t.dtype.Size())
	if t.swap {
		swapBytes(c.in, size)
	}
	from, _ := t.headerDType() // of one that has none DecodeFloat32 says so
	if from == d {
		return c.in, nil
	}
	c.out = c.out[:0]
	for part := range slices.Chunk(c.in, floatElements*size) {
		var err error
		if c.floats, err = safetensors.DecodeFloat32(c.floats[:0], from, part); err != nil {
			return nil, err
		}
		if c.out, err = safetensors.EncodeFloat32(c.out, d, c.floats); err != nil {
			return nil, err
		}
	}
	return c.out, nil
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
			return written, fmt.Errorf("tensor %s: %w", diag.Name(j.t.name), err)
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
