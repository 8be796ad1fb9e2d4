package atomicfile

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKernelCopy(t *testing.T) {
	dir := t.TempDir()
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	name := filepath.Join(dir, "src")
	require.NoError(t, os.WriteFile(name, data, 0o600))
	src, err := os.Open(name)
	require.NoError(t, err)
	defer src.Close()
	dst, err := os.Create(filepath.Join(dir, "dst"))
	require.NoError(t, err)
	defer dst.Close()
	n, err := kernelCopy(dst, 5, src, 13, 500_000)
	require.NoError(t, err)
	if n == 0 {
		t.Skip("the kernel does not copy here: NOT tested")
	}
	got := make([]byte, n)
	_, err = dst.ReadAt(got, 5)
	require.NoError(t, err)
	require.Equal(t, data[13:13+n], got)

	n, err = kernelCopy(dst, 0, src, int64(len(data))-3, 10)
	require.NoError(t, err, "the source ends: what is left is the caller's")
	require.Equal(t, int64(3), n)
}
