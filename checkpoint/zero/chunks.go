package zero

import (
	"bufio"
	"fmt"
	"io"
	"sort"
)

// endToEnd reports whether the elements of a chunk lie end to end in a tensor of
// that size: it is cut along one dimension, and those before it have one index.
func (c *chunk) endToEnd(size []int64) bool {
	d := len(size) - 1
	for d >= 0 && c.sizes[d] == size[d] {
		d--
	}
	for d--; d >= 0; d-- {
		if c.sizes[d] != 1 {
			return false
		}
	}
	return true
}

// tile makes sure that chunks, in the order of their offsets, fill the dimensions
// from d on without gaps and overlaps. They must be a grid, as those of a mesh of
// devices are: cut into slabs, each of which is cut in the same way on its own.
func tile(size []int64, chunks []*chunk, d int) error {
	if d == len(size) {
		if len(chunks) != 1 {
			return fmt.Errorf("%d chunks in one place, want one", len(chunks))
		}
		return nil
	}
	at := int64(0)
	for len(chunks) > 0 {
		first := chunks[0]
		n := 0
		for n < len(chunks) && chunks[n].offsets[d] == first.offsets[d] {
			if chunks[n].sizes[d] != first.sizes[d] {
				return fmt.Errorf("chunks at %v and %v differ in dimension %d: %d and %d", first.offsets, chunks[n].offsets, d, first.sizes[d], chunks[n].sizes[d])
			}
			n++
		}
		if first.offsets[d] != at {
			return fmt.Errorf("the chunk at %v begins at %d in dimension %d, want %d", first.offsets, first.offsets[d], d, at)
		}
		if err := tile(size, chunks[:n], d+1); err != nil {
			return err
		}
		at += first.sizes[d]
		chunks = chunks[n:]
	}
	if at != size[d] {
		return fmt.Errorf("the chunks end at %d in dimension %d, want %d", at, d, size[d])
	}
	return nil
}

// A chunkReader reads a tensor that is cut along several dimensions. In the order
// of its indexes the elements of each chunk come one after another, so each is
// read once from its start to its end.
type chunkReader struct {
	t       *tensor
	files   sources
	readers map[*chunk]*bufio.Reader
	at      int64     // element that comes next
	src     io.Reader // of the chunk that has it
	left    int64     // bytes of it that follow end to end in the tensor
}

// chunkBuffers is how much all buffers of a chunkReader take, as far as they can.
const chunkBuffers = 1 << 20

func newChunkReader(t *tensor, files sources) *chunkReader {
	return &chunkReader{t: t, files: files, readers: make(map[*chunk]*bufio.Reader)}
}

// Read fills p, whose length is that of whole elements.
func (r *chunkReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if r.left == 0 {
			if r.at == r.t.numel {
				return n, io.EOF
			}
			r.next()
		}
		k, err := io.ReadFull(r.src, p[n:min(int64(len(p)), int64(n)+r.left)])
		n, r.left = n+k, r.left-int64(k)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// next finds the chunk that has element r.at, which is the first of a run.
func (r *chunkReader) next() {
	size, list := r.t.shape, r.t.chunks
	inner, rest := r.t.numel, r.at
	var run int64
	for d := range size {
		inner /= size[d]
		index := rest / inner
		rest %= inner
		end := sort.Search(len(list), func(i int) bool { return list[i].offsets[d] > index })
		begin := sort.Search(end, func(i int) bool { return list[i].offsets[d] == list[end-1].offsets[d] })
		list = list[begin:end]
		run = (list[0].offsets[d] + list[0].sizes[d] - index) * inner
		if len(list) == 1 {
			break
		}
	}
	c := list[0]
	src := r.readers[c]
	if src == nil {
		src = bufio.NewReaderSize(io.NewSectionReader(r.files[c.data.file], c.data.off, c.data.n), chunkBuffers/len(r.t.chunks))
		r.readers[c] = src
	}
	r.src, r.left = src, run*r.t.dtype.Size()
	r.at += run
}
