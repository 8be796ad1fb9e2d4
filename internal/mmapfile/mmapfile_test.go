package mmapfile

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/exp/mmap"
)

func temp(t *testing.T, data []byte) *os.File {
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, data, 0o644))
	f, err := os.Open(name)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func mapsFiles() bool {
	return runtime.GOOS == "linux" || runtime.GOOS == "darwin" || runtime.GOOS == "windows"
}

// TestMappedFindsTheField fails when x/exp/mmap changes so that its slice is not
// found any more. Callers go on with reads then, but should not have to.
func TestMappedFindsTheField(t *testing.T) {
	if !mapsFiles() {
		t.Skip("x/exp/mmap does not map files here")
	}
	f := temp(t, []byte("some bytes"))
	r, err := mmap.Open(f.Name())
	require.NoError(t, err)
	defer r.Close()
	data, ok := mapped(r)
	require.True(t, ok)
	require.Equal(t, "some bytes", string(data))
}

func TestMap(t *testing.T) {
	if !mapsFiles() {
		t.Skip("x/exp/mmap does not map files here")
	}
	want := bytes.Repeat([]byte("0123456789"), 1000)
	f := temp(t, want)
	m, err := Map(f, int64(len(want)))
	require.NoError(t, err)
	require.NoError(t, f.Close(), "the mapping does not need the file")
	runtime.GC()
	runtime.GC()
	require.Equal(t, want, m.Bytes(), "no finalizer has unmapped it")
	require.NoError(t, m.Close())
	require.Empty(t, m.Bytes())
}

func TestMapErrors(t *testing.T) {
	f := temp(t, []byte("some bytes"))
	_, err := Map(f, 0)
	require.ErrorIs(t, err, ErrUnsupported)
	_, err = Map(f, -1)
	require.ErrorIs(t, err, ErrUnsupported)
	if !mapsFiles() {
		return
	}
	_, err = Map(f, 9)
	require.ErrorIs(t, err, ErrChanged)

	// What the name leads to is another file by now.
	require.NoError(t, os.WriteFile(f.Name()+".new", []byte("some BYTES"), 0o644))
	require.NoError(t, os.Rename(f.Name()+".new", f.Name()))
	_, err = openPath(f, f.Name())
	require.ErrorIs(t, err, ErrChanged)
	require.NoError(t, os.Remove(f.Name()))
	_, err = openPath(f, f.Name())
	require.ErrorIs(t, err, os.ErrNotExist)
}
