package zero

import (
	"io"
	"slices"
)

// open returns the bytes of a tensor in the order of its indexes. Reads must be of
// whole elements.
func (t *tensor) open(files sources) io.Reader {
	if st := t.stride; st != nil {
		size := st.dtype.Size()
		return &gatherer{st: st, size: size, src: newWindow(files[st.file], st.offset, extent(st)*size), index: make([]int64, len(st.shape)), left: st.numel}
	}
	if t.chunks != nil {
		return newChunkReader(t, files)
	}
	parts := make([]io.Reader, 0, len(t.pieces))
	for _, p := range t.pieces {
		parts = append(parts, io.NewSectionReader(files[p.file], p.off, p.n))
	}
	return io.MultiReader(parts...)
}

// A gatherer reads a tensor whose elements do not lie end to end, such as a
// transposed one.
type gatherer struct {
	st    *stored
	size  int64
	src   *window
	index []int64 // of the next element
	off   int64   // of it, in elements from the first
	left  int64
}

// Read fills p, whose length is that of whole elements.
func (g *gatherer) Read(p []byte) (n int, err error) {
	if g.left == 0 {
		return 0, io.EOF
	}
	size := int(g.size)
	for ; n+size <= len(p) && g.left > 0; n += size {
		if err := g.src.read(p[n:n+size], g.off*g.size); err != nil {
			return n, err
		}
		g.left--
		for d := len(g.index) - 1; d >= 0; d-- {
			g.index[d]++
			g.off += g.st.stride[d]
			if g.index[d] < g.st.shape[d] {
				break
			}
			g.off -= g.index[d] * g.st.stride[d]
			g.index[d] = 0
		}
	}
	return n, nil
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
