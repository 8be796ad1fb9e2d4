package zero_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint/zero"
	"github.com/safeckpt/safeckpt/diag"
)

// testdata/fsdp-w2 was written by fully_shard and torch.distributed.checkpoint of
// torch 2.15 on 2 ranks (gloo), expected.safetensors by save_pretrained before.
func TestMergeFSDP(t *testing.T) {
	all, s := merge(t, "fsdp-w2", nil)
	require.True(t, s.FSDP)
	require.Equal(t, 2, s.Ranks)
	require.Equal(t, readFile(t, "testdata/fsdp-w2/expected.safetensors"), all)
	out := filepath.Join(t.TempDir(), "out")
	stats, err := s.Merge(t.Context(), out, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"config.json", "model.safetensors"}, ls(t, out))
	require.False(t, stats.Report.Has(diag.MergeNotHeld))
}

func TestRefusedFSDP(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(dir string) error
		code   diag.Code
	}{
		"rank missing":     {func(dir string) error { return os.Remove(filepath.Join(dir, "__1_0.distcp")) }, diag.RankMissing},
		"metadata missing": {func(dir string) error { return os.Remove(filepath.Join(dir, ".metadata")) }, diag.ModelStatesMissing},
		"rank cut":         {func(dir string) error { return os.Truncate(filepath.Join(dir, "__0_0.distcp"), 40_000) }, diag.RankFileDamaged},
		"metadata cut":     {func(dir string) error { return os.Truncate(filepath.Join(dir, ".metadata"), 9_000) }, diag.RankFileContent},
		"files swapped": {func(dir string) error {
			return os.Rename(filepath.Join(dir, "__0_0.distcp"), filepath.Join(dir, "__1_0.distcp"))
		}, diag.RankMissing},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/fsdp-w2")))
			require.NoError(t, c.damage(filepath.Join(dir, "pytorch_model_fsdp_0")))
			_, err := zero.Open(t.Context(), dir, nil)
			require.ErrorIs(t, err, c.code)
		})
	}
}
