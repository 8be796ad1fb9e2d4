package zero

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/internal/pickle"
)

// grid cuts a tensor of bytes 0, 1, 2, ... along each dimension and returns the
// chunks with their data end to end in one file.
func grid(size []int64, cuts [][]int64) (chunks []*chunk, file []byte) {
	chunks = []*chunk{{}}
	for _, cut := range cuts {
		var next []*chunk
		for _, c := range chunks {
			at := int64(0)
			for _, n := range cut {
				next = append(next, &chunk{offsets: append(slices.Clone(c.offsets), at), sizes: append(slices.Clone(c.sizes), n)})
				at += n
			}
		}
		chunks = next
	}
	for _, c := range chunks {
		start := len(file)
		for i := range product(c.sizes) {
			flat, rest := int64(0), i
			inner := product(c.sizes)
			for d := range size {
				inner /= c.sizes[d]
				flat = flat*size[d] + c.offsets[d] + rest/inner
				rest %= inner
			}
			file = append(file, byte(flat))
		}
		c.data = piece{0, int64(start), int64(len(file) - start)}
	}
	return chunks, file
}

func product(sizes []int64) int64 {
	n := int64(1)
	for _, s := range sizes {
		n *= s
	}
	return n
}

// oneByte returns a dtype whose elements are bytes.
func oneByte() (d pickle.DType) {
	for d = 1; d.Size() != 1; d++ {
	}
	return d
}

// memoryFile is a file of a checkpoint in memory.
type memoryFile struct{ *bytes.Reader }

func (memoryFile) Close() error { return nil }

func TestChunks(t *testing.T) {
	for name, c := range map[string]struct {
		size []int64
		cuts [][]int64
	}{
		"rows":             {[]int64{7, 4}, [][]int64{{3, 3, 1}, {4}}},
		"columns":          {[]int64{7, 4}, [][]int64{{7}, {1, 3}}},
		"both":             {[]int64{7, 4}, [][]int64{{4, 3}, {2, 2}}},
		"three dimensions": {[]int64{3, 5, 4}, [][]int64{{1, 2}, {2, 2, 1}, {3, 1}}},
		"the middle one":   {[]int64{3, 5, 4}, [][]int64{{3}, {2, 3}, {4}}},
		"leading ones":     {[]int64{1, 6, 2}, [][]int64{{1}, {4, 2}, {2}}},
		"one chunk":        {[]int64{2, 3}, [][]int64{{2}, {3}}},
	} {
		t.Run(name, func(t *testing.T) {
			chunks, file := grid(c.size, c.cuts)
			require.NoError(t, tile(c.size, chunks, 0))
			w := &tensor{shape: c.size, numel: product(c.size), dtype: oneByte(), chunks: chunks}
			got, err := io.ReadAll(w.open(sources{memoryFile{bytes.NewReader(file)}}))
			require.NoError(t, err)
			for i, b := range got {
				require.Equal(t, byte(i), b)
			}
			require.Len(t, got, int(w.numel))
			small, err := io.ReadAll(iotest.OneByteReader(w.open(sources{memoryFile{bytes.NewReader(file)}})))
			require.NoError(t, err)
			require.Equal(t, got, small)
			_, err = io.ReadAll(w.open(sources{memoryFile{bytes.NewReader(file[:len(file)-1])}}))
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)

			if len(chunks) > 1 {
				require.Error(t, tile(c.size, chunks[1:], 0), "a gap")
				require.Error(t, tile(c.size, slices.Insert(slices.Clone(chunks), 1, chunks[0]), 0), "one twice")
			}
		})
	}
}
