package checkpoint_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/diag"
)

func TestZeRO(t *testing.T) {
	const src = "zero/testdata/hf-z2-bf16-w2/checkpoint-6"
	copyTo := func(t *testing.T) string {
		dir := filepath.Join(t.TempDir(), "checkpoint-6")
		require.NoError(t, os.CopyFS(dir, os.DirFS(src)))
		return dir
	}
	gathered := func(t *testing.T, dir string) string { // no weights but the shards
		require.NoError(t, os.Remove(filepath.Join(dir, "model.safetensors")))
		require.NoError(t, os.Remove(filepath.Join(dir, "expected.safetensors")))
		return dir
	}
	rank := filepath.Join("global_step6", "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt")

	t.Run("whole", func(t *testing.T) {
		r := validate(t, gathered(t, copyTo(t)), nil)
		require.True(t, r.Valid(), r.Report.Summary())
		require.Equal(t, checkpoint.KindZeRO, r.Kind)
		require.True(t, r.Expected)
		require.Equal(t, 27, r.Tensors)
		require.True(t, r.Report.Has(diag.WorldSizeFixed))
		require.True(t, r.Report.Has(diag.NeedsMerge))
	})
	t.Run("another config", func(t *testing.T) {
		dir := gathered(t, copyTo(t))
		text, err := os.ReadFile(filepath.Join(dir, "config.json"))
		require.NoError(t, err)
		changed := bytes.Replace(text, []byte(`"num_hidden_layers": 2`), []byte(`"num_hidden_layers": 3`), 1)
		require.NotEqual(t, text, changed)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), changed, 0o600))
		r := validate(t, dir, nil)
		require.False(t, r.Valid())
		require.NotEmpty(t, byCode(r, diag.TensorMissing))
	})
	t.Run("rank missing", func(t *testing.T) {
		dir := gathered(t, copyTo(t))
		require.NoError(t, os.Remove(filepath.Join(dir, rank)))
		r := validate(t, dir, nil)
		require.False(t, r.Valid())
		require.True(t, r.Report.Has(diag.RankMissing))
	})
	t.Run("rank missing beside weights", func(t *testing.T) {
		dir := copyTo(t)
		require.NoError(t, os.Remove(filepath.Join(dir, "expected.safetensors")))
		require.NoError(t, os.Remove(filepath.Join(dir, rank)))
		r := validate(t, dir, nil)
		require.True(t, r.Valid(), r.Report.Summary())
		require.True(t, r.Report.Has(diag.RankMissing))
		require.NotEqual(t, checkpoint.ResumeExact, r.Resumable)
	})
}

func TestFSDP(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("zero/testdata/fsdp-w2")))
	require.NoError(t, os.Remove(filepath.Join(dir, "expected.safetensors")))
	r := validate(t, dir, nil)
	require.True(t, r.Valid(), r.Report.Summary())
	require.Equal(t, checkpoint.KindFSDP, r.Kind)
	require.True(t, r.Expected)
	require.Equal(t, 27, r.Tensors)
	require.NoError(t, os.Truncate(filepath.Join(dir, "pytorch_model_fsdp_0", "__1_0.distcp"), 50_000))
	r = validate(t, dir, nil)
	require.False(t, r.Valid())
	require.True(t, r.Report.Has(diag.RankFileDamaged))
}
