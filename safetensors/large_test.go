package safetensors_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/safetensors"
)

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestBeyond4GiB writes a tensor of more than 4 GiB and one behind it, changes the
// metadata, and reads both back. Where addresses have 32 bits nothing of the size
// can be mapped.
func TestBeyond4GiB(t *testing.T) {
	if os.Getenv("SAFECKPT_LARGE") == "" {
		t.Skip("SAFECKPT_LARGE is not set: NOT written, 4.3 GB twice")
	}
	const size = 4<<30 + 12345
	dir := t.TempDir()
	name, copied := filepath.Join(dir, "a.safetensors"), filepath.Join(dir, "b.safetensors")
	last := []byte{1, 2, 3}
	tensors := []safetensors.TensorData{
		{TensorInfo: safetensors.TensorInfo{Name: "large", DType: safetensors.U8, Shape: []uint64{size}}, Data: io.MultiReader(io.LimitReader(zeros{}, size-1), bytes.NewReader([]byte{7}))},
		{TensorInfo: safetensors.TensorInfo{Name: "last", DType: safetensors.U8, Shape: []uint64{3}}, Data: bytes.NewReader(last)},
	}
	require.NoError(t, safetensors.WriteFile(t.Context(), name, tensors, nil, nil))
	require.NoError(t, safetensors.Rewrite(t.Context(), copied, name, &safetensors.RewriteOptions{
		Metadata: func(map[string]string) map[string]string { return map[string]string{"format": "pt"} },
	}))
	require.NoError(t, os.Remove(name))

	f, err := safetensors.Open(copied, nil)
	require.NoError(t, err)
	defer f.Close()
	tensor, err := f.Tensor("last")
	require.NoError(t, err)
	require.Equal(t, uint64(size), tensor.Info().Begin)
	got := make([]byte, 3)
	require.NoError(t, tensor.ReadInto(t.Context(), got))
	require.Equal(t, last, got)
	large, err := f.Tensor("large")
	require.NoError(t, err)
	n, err := large.Open().ReadAt(got, size-3)
	require.True(t, err == nil || err == io.EOF)
	require.Equal(t, []byte{0, 0, 7}, got[:n])
}
