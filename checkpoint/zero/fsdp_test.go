package zero_test

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint/zero"
	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
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

// testdata/fsdp-tp-w4 is a mesh of 2 x 2 (torch 2.15, gloo): tensor parallelism
// within, FSDP across. Some tensors are cut along both dimensions.
func TestMergeFSDPGrid(t *testing.T) {
	want := readFile(t, "testdata/fsdp-tp-w4/expected.safetensors")
	all, s := merge(t, "fsdp-tp-w4", nil)
	require.Equal(t, 4, s.Ranks)
	require.Equal(t, want, all)
	half, _ := merge(t, "fsdp-tp-w4", &zero.MergeOptions{DType: safetensors.BF16})
	for name, w := range want {
		require.Len(t, half[name].Data, len(w.Data)/2)
		for i := 0; i < len(w.Data); i += 4 {
			rounded := safetensors.BFloat16FromFloat32(math.Float32frombits(binary.LittleEndian.Uint32(w.Data[i:])))
			require.Equal(t, uint16(rounded), binary.LittleEndian.Uint16(half[name].Data[i/2:]), name)
		}
	}
}

// TestVerifyFSDP holds a grid against the weights beside it.
func TestVerifyFSDP(t *testing.T) {
	dir := copyOf(t, "fsdp-tp-w4")
	require.NoError(t, os.Rename(filepath.Join(dir, "expected.safetensors"), filepath.Join(dir, "model.safetensors")))
	s, err := zero.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	stats, err := s.Merge(t.Context(), filepath.Join(t.TempDir(), "out"), &zero.MergeOptions{Verify: true, CheckCRC: true})
	require.NoError(t, err)
	require.Equal(t, 15, stats.Verified)
	require.Empty(t, stats.Report.Problems())
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
