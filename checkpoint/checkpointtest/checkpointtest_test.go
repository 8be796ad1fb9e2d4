package checkpointtest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/checkpoint/checkpointtest"
	"github.com/safeckpt/safeckpt/diag"
)

const good = "../../testdata/checkpoints/qwen2-tiny"

func TestValid(t *testing.T) {
	checkpointtest.Valid(t, good, nil)
}

// recorder is a test that is allowed to fail.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

func TestValidFails(t *testing.T) {
	for name, dir := range map[string]string{
		"damaged":      checkpointtest.Damaged(t, good, checkpointtest.Truncate("model.safetensors", 0.9)),
		"never judged": checkpointtest.Damaged(t, good, checkpointtest.Remove("config.json")),
	} {
		r := &recorder{TB: t}
		checkpointtest.Valid(r, dir, nil)
		require.True(t, r.failed, name)
	}
}

func TestDamagedLeavesTheOriginalAlone(t *testing.T) {
	snapshot := t.TempDir()
	for _, name := range []string{"config.json", "model.safetensors"} {
		abs, err := filepath.Abs(filepath.Join(good, name))
		require.NoError(t, err)
		data, err := os.ReadFile(abs)
		require.NoError(t, err)
		blob := filepath.Join(snapshot, "blob-"+name)
		require.NoError(t, os.WriteFile(blob, data, 0o644))
		require.NoError(t, os.MkdirAll(filepath.Join(snapshot, "main"), 0o755))
		if err := os.Symlink(filepath.Join("..", "blob-"+name), filepath.Join(snapshot, "main", name)); err != nil {
			t.Skip("no symlinks here:", err)
		}
	}
	dir := filepath.Join(snapshot, "main")
	copied := checkpointtest.Damaged(t, dir, checkpointtest.Truncate("model.safetensors", 0.5))
	require.ErrorIs(t, checkpoint.Check(t.Context(), copied, nil), diag.FileTruncated)
	require.NoError(t, checkpoint.Check(t.Context(), dir, nil), "symlinks are followed, the original is whole")
}
