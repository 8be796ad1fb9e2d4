package directio

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// written makes a file that the page cache does not have, if that can be.
func written(t *testing.T, size int) (*os.File, []byte) {
	r := rand.New(rand.NewPCG(1, 2))
	want := make([]byte, size)
	for i := range want {
		want[i] = byte(r.Uint32())
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "a"))
	require.NoError(t, err)
	_, err = f.Write(want)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	dropCache(t, f)
	return f, want
}

// reader returns a reader of f that has read past the page cache, if that can be.
func reader(t *testing.T, f *os.File) *Reader {
	r, ok := ReadOnce(f).(*Reader)
	if ok {
		_, err := r.readDirect(make([]byte, Page), 0)
		require.NoError(t, err)
	}
	if !ok || r.direct == nil {
		_ = f.Close()
		t.Skip("no reads past the page cache here: NOT tested")
	}
	return r
}

func TestReader(t *testing.T) {
	f, want := written(t, 5<<20+1234)
	r := reader(t, f)
	defer r.Close()
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		off := random.IntN(len(want))
		got := make([]byte, random.IntN(3<<20))
		dropCache(t, f)
		n, err := r.ReadAt(got, int64(off))
		if off+len(got) > len(want) {
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, len(want)-off, n)
		} else {
			require.NoError(t, err)
			require.Equal(t, len(got), n)
		}
		require.True(t, bytes.Equal(want[off:off+n], got[:n]), "%d bytes at %d", n, off)
	}
	n, err := r.ReadAt(make([]byte, Min), int64(len(want)))
	require.ErrorIs(t, err, io.EOF)
	require.Zero(t, n)
}

// What is read once does not stay in the page cache, and what is there is used.
func TestReaderAndPageCache(t *testing.T) {
	f, want := written(t, 4<<20)
	r := reader(t, f)
	defer r.Close()
	if cached(f, 0, int64(len(want))) {
		t.Skip("the page cache does not tell, or did not drop the file: NOT tested")
	}
	_, err := r.ReadAt(make([]byte, len(want)), 0)
	require.NoError(t, err)
	require.False(t, cached(f, 0, int64(len(want))))

	_, err = f.ReadAt(make([]byte, len(want)), 0)
	require.NoError(t, err)
	require.True(t, cached(f, 0, int64(len(want))))
	require.NoError(t, r.direct.Close())
	got := make([]byte, len(want))
	_, err = r.ReadAt(got, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}

// A file system that refuses what it promised is read through the page cache.
func TestReaderRefused(t *testing.T) {
	f, want := written(t, 3<<20+5)
	r := reader(t, f)
	require.NoError(t, r.direct.Close())
	got := make([]byte, len(want))
	n, err := r.ReadAt(got, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got[:n]))
	require.ErrorIs(t, r.Close(), os.ErrClosed)
	_, err = f.Stat()
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestBlock(t *testing.T) {
	for _, b := range []*Block{newBlock(), onHeap(), Get()} {
		require.True(t, OnPage(b.Mem))
		require.False(t, OnPage(b.Mem[1:]))
		require.GreaterOrEqual(t, len(b.Mem), Unit+2*Page)
		clear(b.Mem)
		Put(b)
	}
}
