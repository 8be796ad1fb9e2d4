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

func TestTensorWriterCopyAt(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 300_000)
	source := filepath.Join(t.TempDir(), "source")
	require.NoError(t, os.WriteFile(source, data, 0o600))
	f, err := os.Open(source)
	require.NoError(t, err)
	defer f.Close()
	for name, src := range map[string]io.ReaderAt{"file": f, "memory": bytes.NewReader(data)} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out.safetensors")
			w, err := safetensors.NewWriter(out, []safetensors.TensorInfo{info("a", safetensors.U8, 2_500_000), info("b", safetensors.U8, 3)}, nil, nil)
			require.NoError(t, err)
			defer w.Abort()
			a, err := w.Tensor("a")
			require.NoError(t, err)
			b, err := w.Tensor("b")
			require.NoError(t, err)
			for _, bad := range [][2]int64{{-1, 1}, {0, -1}, {1, 2_500_000}} {
				_, err = a.CopyAt(src, 0, bad[1], bad[0])
				require.ErrorContains(t, err, "do not fit")
			}
			n, err := b.CopyAt(src, int64(len(data))-2, 3, 0)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			require.Equal(t, int64(2), n)
			require.ErrorContains(t, w.Commit(), "not complete")
			for _, c := range [][4]int64{{7, 2_000_000, 500_000}, {1, 500_000, 0}} {
				n, err := a.CopyAt(src, c[0], c[1], c[2])
				require.NoError(t, err)
				require.Equal(t, c[1], n)
			}
			_, err = b.CopyAt(src, 4, 3, 0)
			require.NoError(t, err)
			require.NoError(t, w.Commit())
			got, err := safetensors.Open(out, nil)
			require.NoError(t, err)
			defer got.Close()
			for _, want := range []struct {
				name string
				data []byte
			}{{"a", append(bytes.Clone(data[1:500_001]), data[7:2_000_007]...)}, {"b", data[4:7]}} {
				tensor, err := got.Tensor(want.name)
				require.NoError(t, err)
				bytes, err := io.ReadAll(tensor.Open())
				require.NoError(t, err)
				require.Equal(t, want.data, bytes)
			}
		})
	}
}

// A file that was cut since it was opened is named, with the byte where it ends.
func TestCopyTensorCutUnderneath(t *testing.T) {
	source := writeTemp(t, raw(twoTensors, count(12)))
	src, err := safetensors.Open(source, nil)
	require.NoError(t, err)
	defer src.Close()
	tensor, err := src.Tensor("b")
	require.NoError(t, err)
	w, err := safetensors.NewWriter(filepath.Join(t.TempDir(), "out.safetensors"), []safetensors.TensorInfo{tensor.Info()}, nil, nil)
	require.NoError(t, err)
	defer w.Abort()
	b, err := w.Tensor("b")
	require.NoError(t, err)
	require.NoError(t, os.Truncate(source, src.Size()-1))
	n, err := b.CopyTensor(tensor, 0, 4)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, int64(3), n)
	require.ErrorContains(t, err, "model.safetensors has no byte ")
	require.ErrorContains(t, err, "(tensor b)")
}
