package safetensors_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// raw returns a file of that header, padded to a multiple of 8, and data.
func raw(header string, data []byte) []byte {
	for len(header)%8 != 0 {
		header += " "
	}
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), data...)
}

// count returns n bytes 0, 1, 2...
func count(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

const twoTensors = `{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[2,2],"data_offsets":[8,12]}}`

func writeTemp(t testing.TB, data []byte) string {
	name := filepath.Join(t.TempDir(), "model.safetensors")
	require.NoError(t, os.WriteFile(name, data, 0o644))
	return name
}

func open(t testing.TB, name string, opts *safetensors.OpenOptions) *safetensors.File {
	f, err := safetensors.Open(name, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func TestSources(t *testing.T) {
	data := raw(twoTensors, count(12))
	name := writeTemp(t, data)
	for _, tt := range []struct {
		name   string
		open   func() (*safetensors.File, error)
		mapped bool
	}{
		{"path", func() (*safetensors.File, error) { return safetensors.Open(name, nil) }, true},
		{"path, not mapped", func() (*safetensors.File, error) {
			return safetensors.Open(name, &safetensors.OpenOptions{NoMap: true})
		}, false},
		{"path, read once", func() (*safetensors.File, error) {
			return safetensors.Open(name, &safetensors.OpenOptions{ReadOnce: true})
		}, true},
		{"os.DirFS", func() (*safetensors.File, error) {
			return safetensors.OpenFS(os.DirFS(filepath.Dir(name)), "model.safetensors", nil)
		}, true},
		{"fstest.MapFS", func() (*safetensors.File, error) {
			return safetensors.OpenFS(fstest.MapFS{"m": {Data: data}}, "m", nil)
		}, false},
		{"only Seek", func() (*safetensors.File, error) {
			return safetensors.OpenFS(seekFS{fstest.MapFS{"m": {Data: data}}}, "m", nil)
		}, false},
		{"io.ReaderAt", func() (*safetensors.File, error) {
			return safetensors.NewFile(bytes.NewReader(data), int64(len(data)), nil)
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := tt.open()
			require.NoError(t, err)
			require.EqualValues(t, len(data), f.Size())
			require.Equal(t, map[string]string{"format": "pt"}, f.Header().Metadata)
			var names []string
			for name, tensor := range f.All() {
				require.Equal(t, name, tensor.Info().Name)
				names = append(names, name)
			}
			require.Equal(t, []string{"a", "b"}, names)

			b, err := f.Tensor("b")
			require.NoError(t, err)
			require.Equal(t, []uint64{2, 2}, b.Info().Shape)
			dst := make([]byte, 4)
			require.NoError(t, b.ReadInto(t.Context(), dst))
			require.Equal(t, []byte{8, 9, 10, 11}, dst)
			require.Error(t, b.ReadInto(t.Context(), dst[:3]))
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, b.ReadInto(ctx, dst), context.Canceled)
			got, err := io.ReadAll(b.Open())
			require.NoError(t, err)
			require.Equal(t, dst, got)

			got, err = b.Bytes()
			if tt.mapped {
				require.NoError(t, err)
				require.Equal(t, dst, got)
				require.Equal(t, 4, cap(got), "append must not reach what follows")
			} else {
				require.ErrorIs(t, err, safetensors.ErrNotMapped)
			}
			_, err = f.Tensor("c")
			require.ErrorIs(t, err, safetensors.ErrNoTensor)

			require.NoError(t, f.Close())
			require.NoError(t, f.Close(), "closing twice")
			_, err = b.Bytes()
			require.ErrorIs(t, err, safetensors.ErrClosed)
			require.ErrorIs(t, err, fs.ErrClosed)
			require.ErrorIs(t, b.ReadInto(t.Context(), dst), safetensors.ErrClosed)
			_, err = io.ReadAll(b.Open())
			require.ErrorIs(t, err, safetensors.ErrClosed)
			require.ErrorIs(t, f.Guard(func() error { return nil }), safetensors.ErrClosed)
			require.Len(t, f.Header().Tensors, 2, "the header outlives the file")
		})
	}
}

// seekFS hides ReadAt.
type seekFS struct{ fs.FS }

func (s seekFS) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	return struct {
		fs.File
		io.Seeker
	}{f, f.(io.Seeker)}, err
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	_, err := safetensors.Open(filepath.Join(dir, "none"), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = safetensors.Open(dir, nil)
	require.ErrorContains(t, err, "is a directory")
	require.NotErrorIs(t, err, safetensors.ErrFormat)
	_, err = safetensors.OpenFS(os.DirFS(dir), ".", nil)
	require.ErrorContains(t, err, "is a directory")
	_, err = safetensors.NewFile(bytes.NewReader(nil), -1, nil)
	require.ErrorContains(t, err, "negative size")
	_, err = safetensors.OpenFS(plainFS{fstest.MapFS{"m": {}}}, "m", nil)
	require.ErrorContains(t, err, "neither")
}

// plainFS hides ReadAt and Seek.
type plainFS struct{ fs.FS }

func (s plainFS) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	return struct{ fs.File }{f}, err
}

// TestLyingSize claims more bytes than the source has: no memory may be taken on
// its word.
func TestLyingSize(t *testing.T) {
	data := binary.LittleEndian.AppendUint64(nil, 90_000_000)
	data = append(data, bytes.Repeat([]byte("{"), 1<<20)...)
	before := allocated()
	_, err := safetensors.NewFile(bytes.NewReader(data), 1<<40, nil)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.NotErrorIs(t, err, safetensors.ErrFormat)
	require.Less(t, allocated()-before, uint64(2<<20))
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func TestLimits(t *testing.T) {
	data := raw(twoTensors, count(12))
	for _, limits := range []safetensors.Limits{{HeaderBytes: 100}, {Tensors: 1}, {Rank: 1}} {
		_, err := safetensors.NewFile(bytes.NewReader(data), int64(len(data)), &safetensors.OpenOptions{Limits: limits})
		require.ErrorIs(t, err, diag.HeaderLimit)
	}
	_, err := safetensors.NewFile(bytes.NewReader(data), int64(len(data)), &safetensors.OpenOptions{
		Limits: safetensors.Limits{HeaderBytes: math.MaxInt64, Tensors: 2, Rank: 2}})
	require.NoError(t, err)
}

// TestManyReadersOneClose closes a file under its readers: each either gets its
// data or ErrClosed.
func TestManyReadersOneClose(t *testing.T) {
	name := writeTemp(t, raw(twoTensors, count(12)))
	for range 50 {
		f, err := safetensors.Open(name, nil)
		require.NoError(t, err)
		b, err := f.Tensor("b")
		require.NoError(t, err)
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				<-start
				for {
					err := f.Guard(func() error {
						data, err := b.Bytes()
						if err == nil && !bytes.Equal(data, []byte{8, 9, 10, 11}) {
							return errors.New("wrong data")
						}
						return err
					})
					if err == nil {
						err = b.ReadInto(context.Background(), make([]byte, 4))
					}
					if err != nil {
						if !errors.Is(err, safetensors.ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		close(start)
		runtime.Gosched()
		require.NoError(t, f.Close())
		wg.Wait()
	}
}

// TestCutUnderneath cuts a file that is open. Every method must give an error.
func TestCutUnderneath(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a mapped file cannot be cut on Windows")
	}
	if runtime.GOARCH == "s390x" {
		t.Skip("NOT RUN: qemu's user mode emulation gives no address with a fault")
	}
	const size = 1 << 20
	header := `{"a":{"dtype":"U8","shape":[1048576],"data_offsets":[0,1048576]}}`
	name := writeTemp(t, raw(header, make([]byte, size)))
	f := open(t, name, nil)
	late := open(t, name, nil) // mapped after the cut
	a, err := f.Tensor("a")
	require.NoError(t, err)
	data, err := a.Bytes()
	require.NoError(t, err)
	require.NoError(t, os.Truncate(name, size/2))

	err = f.Guard(func() error {
		sum := 0
		for _, b := range data {
			sum += int(b)
		}
		require.Zero(t, sum)
		return nil
	})
	var fault *safetensors.FaultError
	require.ErrorAs(t, err, &fault)
	require.GreaterOrEqual(t, fault.Offset, int64(size/2))
	require.Less(t, fault.Offset, int64(size+1000))
	require.ErrorContains(t, err, "model.safetensors")
	dst := make([]byte, size)
	require.ErrorAs(t, f.Guard(func() error { copy(dst, data); return nil }), &fault, "also in memmove")

	require.ErrorIs(t, a.ReadInto(t.Context(), dst), io.ErrUnexpectedEOF)
	_, err = io.ReadAll(a.Open())
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)

	tensor, err := late.Tensor("a")
	require.NoError(t, err)
	_, err = tensor.Bytes()
	require.ErrorIs(t, err, safetensors.ErrNotMapped, "its length has changed")
	_, err = safetensors.View[uint8](tensor)
	require.ErrorIs(t, err, safetensors.ErrNotMapped)
}

// TestGuardLetsOthersThrough panics for other reasons than the mapping.
func TestGuardLetsOthersThrough(t *testing.T) {
	f := open(t, writeTemp(t, raw(twoTensors, count(12))), nil)
	require.PanicsWithValue(t, "mine", func() { _ = f.Guard(func() error { panic("mine") }) })
	require.Panics(t, func() {
		_ = f.Guard(func() error {
			var p *int
			*p = 1
			return nil
		})
	}, "a nil pointer is no fault of the mapping")
	sentinel := errors.New("its error")
	require.Equal(t, sentinel, f.Guard(func() error { return sentinel }))
}

// TestReplacedUnderneath renames another file over an open one: what was opened
// stays what is read.
func TestReplacedUnderneath(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	name := writeTemp(t, raw(twoTensors, count(12)))
	f := open(t, name, nil)
	require.NoError(t, os.WriteFile(name+".new", raw(twoTensors, make([]byte, 12)), 0o644))
	require.NoError(t, os.Rename(name+".new", name))
	b, err := f.Tensor("b")
	require.NoError(t, err)
	data, err := b.Bytes()
	require.NoError(t, err)
	require.Equal(t, []byte{8, 9, 10, 11}, data)
}

// TestReads counts what opening a file costs its source.
func TestReads(t *testing.T) {
	small := raw(twoTensors, make([]byte, 12))
	r := &countingReader{r: bytes.NewReader(small)}
	_, err := safetensors.NewFile(r, int64(len(small)), nil)
	require.NoError(t, err)
	require.Equal(t, 1, r.reads)

	long := raw(strings.Repeat(" ", 1<<21)+twoTensors, make([]byte, 12))
	r = &countingReader{r: bytes.NewReader(long)}
	_, err = safetensors.NewFile(r, int64(len(long)), nil)
	require.NoError(t, err)
	require.Equal(t, 3, r.reads)
}

type countingReader struct {
	r     io.ReaderAt
	reads int
	bytes int64
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.reads++
	c.bytes += int64(n)
	return n, err
}

func itoa(n int) string { return strconv.Itoa(n) }

// stuckReader breaks the rules of io.ReaderAt beyond its first bytes.
type stuckReader struct {
	r    io.ReaderAt
	upTo int64
}

func (s stuckReader) ReadAt(p []byte, off int64) (int, error) {
	if off >= s.upTo {
		return 0, nil
	}
	return s.r.ReadAt(p, off)
}

func TestStuckSource(t *testing.T) {
	file := shard("a")
	f, err := safetensors.NewFile(stuckReader{bytes.NewReader(file), 1}, int64(len(file)), nil)
	require.NoError(t, err)
	a, err := f.Tensor("a")
	require.NoError(t, err)
	require.ErrorIs(t, a.ReadInto(background, make([]byte, 4)), io.ErrNoProgress)
}
