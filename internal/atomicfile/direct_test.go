package atomicfile

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/internal/directio"
)

// reserved starts a file of that size, past the page cache if that can be.
func reserved(t *testing.T, name string, size int64, opts *Options) *File {
	f, err := Create(name, opts)
	require.NoError(t, err)
	require.NoError(t, f.reserve(size))
	if f.direct == nil {
		_ = f.Abort()
		t.Skip("no writes past the page cache here: NOT tested")
	}
	return f
}

func TestDirect(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const size = 9<<20 + 1234
	want := make([]byte, size)
	for i := range want {
		want[i] = byte(r.Uint32())
	}
	source := filepath.Join(t.TempDir(), "source")
	require.NoError(t, os.WriteFile(source, want, 0o600))
	src, err := os.Open(source)
	require.NoError(t, err)
	defer src.Close()
	for range 20 {
		name := filepath.Join(t.TempDir(), "a")
		f := reserved(t, name, size, nil)
		for at := int64(0); at < size; {
			n := min(size-at, r.Int64N(6<<20))
			if r.IntN(3) == 0 {
				n = min(n, r.Int64N(2*directio.Page))
			}
			if r.IntN(2) == 0 {
				k, err := f.WriteAt(want[at:at+n], at)
				require.NoError(t, err)
				require.EqualValues(t, n, k)
			} else {
				k, err := f.CopyAt(src, at, n, at)
				require.NoError(t, err)
				require.Equal(t, n, k)
			}
			at += n
		}
		require.NoError(t, f.Commit())
		got, err := os.ReadFile(name)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got))
		require.Empty(t, others(t, name))
	}
}

func TestDirectRefused(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	f := reserved(t, name, int64(len(data)), nil)
	require.NoError(t, f.direct.Close()) // every write past the page cache fails from now on
	n, err := f.WriteAt(data, 0)
	require.NoError(t, err)
	require.Len(t, data, n)
	f.direct = nil
	require.NoError(t, f.Commit())
	got, err := os.ReadFile(name)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
}

func TestDirectShortSource(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	f := reserved(t, name, 2<<20, nil)
	n, err := f.CopyAt(bytes.NewReader(make([]byte, 1<<20+5)), 0, 2<<20, 0)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.EqualValues(t, 1<<20+5, n)
	require.NoError(t, f.Abort())
	require.Empty(t, others(t, name))
}

func TestNoRoom(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	f, err := Create(name, nil)
	require.NoError(t, err)
	err = f.Reserve(1 << 60)
	require.NoError(t, f.Abort())
	require.Empty(t, others(t, name))
	if err == nil {
		t.Skip("no room is taken ahead here: NOT tested")
	}
	require.ErrorContains(t, err, "no room for 1152921504606846976 bytes")
}

func TestReserveIsAStep(t *testing.T) {
	f, err := Create(filepath.Join(t.TempDir(), "a"), &Options{Step: func(op, _ string) error {
		if op == "reserve" {
			return errKilled
		}
		return nil
	}})
	require.NoError(t, err)
	defer f.Abort()
	require.True(t, errors.Is(f.Reserve(1<<30), errKilled))
	require.NoError(t, f.Reserve(1<<20), "a small file needs none")
}
