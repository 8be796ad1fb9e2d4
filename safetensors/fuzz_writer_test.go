package safetensors_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/safetensors"
)

// FuzzWriterRoundTrip writes again what can be read: the tensors, their bytes and
// the metadata must come back, and once more written they are the same bytes.
func FuzzWriterRoundTrip(f *testing.F) {
	seeds, err := filepath.Glob("testdata/reference/*.safetensors")
	require.NoError(f, err)
	for _, name := range seeds {
		data, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(data, uint8(0))
		f.Add(data, uint8(9))
	}
	f.Fuzz(func(t *testing.T, file []byte, align uint8) {
		in, err := safetensors.NewFile(bytes.NewReader(file), int64(len(file)), nil)
		if err != nil {
			return
		}
		opts := &safetensors.WriterOptions{Align: 8 << (align % 14)}
		dir := t.TempDir()
		first := writeAgain(t, in, filepath.Join(dir, "first"), opts)
		defer first.Close()
		require.Equal(t, in.Header().Metadata, first.Header().Metadata)
		require.Zero(t, first.Header().DataStart()%int64(opts.Align))
		want, got := contents(t, in), contents(t, first)
		require.Equal(t, want, got)

		second := writeAgain(t, first, filepath.Join(dir, "second"), opts)
		defer second.Close()
		require.NoError(t, safetensors.Rewrite(context.Background(), filepath.Join(dir, "third"), filepath.Join(dir, "first"), &safetensors.RewriteOptions{WriterOptions: *opts}))
		one, err := os.ReadFile(first.Name())
		require.NoError(t, err)
		for _, name := range []string{"second", "third"} {
			again, err := os.ReadFile(filepath.Join(dir, name))
			require.NoError(t, err)
			require.Equal(t, string(one), string(again))
		}
	})
}

func writeAgain(t *testing.T, in *safetensors.File, name string, opts *safetensors.WriterOptions) *safetensors.File {
	var tensors []safetensors.TensorData
	for _, tensor := range in.All() {
		tensors = append(tensors, safetensors.TensorData{TensorInfo: tensor.Info(), Data: tensor.Open()})
	}
	require.NoError(t, safetensors.WriteFile(context.Background(), name, tensors, in.Header().Metadata, opts))
	out, err := safetensors.Open(name, nil)
	require.NoError(t, err)
	return out
}

// contents returns dtype, shape and bytes of every tensor, as text.
func contents(t *testing.T, f *safetensors.File) map[string]string {
	all := make(map[string]string)
	for name, tensor := range f.All() {
		info := tensor.Info()
		data := make([]byte, info.Bytes())
		require.NoError(t, tensor.ReadInto(context.Background(), data))
		info.Begin, info.End = 0, 0
		all[name] = texts([]safetensors.TensorInfo{info})[0] + string(data)
	}
	return all
}
