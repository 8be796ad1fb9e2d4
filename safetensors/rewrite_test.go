package safetensors_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

func TestRewrite(t *testing.T) {
	ctx := t.Context()
	src := "testdata/reference/all-dtypes.safetensors"
	old, oldData := readAll(t, src)
	name := filepath.Join(t.TempDir(), "a.safetensors")
	copyFile(t, src, name)

	// Metadata and alignment, in place.
	err := safetensors.Rewrite(ctx, name, name, &safetensors.RewriteOptions{
		WriterOptions: safetensors.WriterOptions{Align: 4096},
		Metadata: func(m map[string]string) map[string]string {
			m["step"] = "100"
			return m
		},
	})
	require.NoError(t, err)
	h, data := readAll(t, name)
	require.Equal(t, map[string]string{"format": "pt", "step": "100"}, h.Metadata)
	require.Equal(t, map[string]string{"format": "pt"}, old.Metadata)
	require.Zero(t, h.DataStart()%4096)
	require.Equal(t, old.Tensors, h.Tensors)
	require.Equal(t, oldData, data)

	// Back to what it was, byte for byte.
	err = safetensors.Rewrite(ctx, name, name, &safetensors.RewriteOptions{
		Metadata: func(m map[string]string) map[string]string {
			delete(m, "step")
			return m
		},
	})
	require.NoError(t, err)
	want, err := os.ReadFile(src)
	require.NoError(t, err)
	got, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))

	// Bytes too many go only if that is asked for.
	require.NoError(t, os.WriteFile(name, append(want[:len(want):len(want)], "more"...), 0o600))
	err = safetensors.Rewrite(ctx, name, name, nil)
	require.ErrorIs(t, err, diag.FileTrailing)
	require.NoError(t, safetensors.Rewrite(ctx, name, name, &safetensors.RewriteOptions{Trim: true}))
	got, err = os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))

	// Bytes that are missing are not invented.
	require.NoError(t, os.WriteFile(name, want[:len(want)-1], 0o600))
	require.ErrorIs(t, safetensors.Rewrite(ctx, name, name, &safetensors.RewriteOptions{Trim: true}), diag.FileTruncated)

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, safetensors.Rewrite(cancelled, name, src, nil), context.Canceled)
	got, err = os.ReadFile(name)
	require.NoError(t, err)
	require.Len(t, got, len(want)-1, "untouched")
	require.Error(t, safetensors.Rewrite(ctx, name, filepath.Dir(name), nil))
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, data, 0o600))
}
