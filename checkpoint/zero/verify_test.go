package zero_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint/zero"
	"github.com/safeckpt/safeckpt/diag"
)

func copyOf(t *testing.T, name string) string {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))))
	return dir
}

func TestVerifyFindsOtherStep(t *testing.T) {
	dir := copyOf(t, "odd-z2-fp32-w2-twotags")
	model, err := os.ReadFile(filepath.Join(dir, "global_step2", "mp_rank_00_model_states.pt"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "global_step3", "mp_rank_00_model_states.pt"), model, 0o600))
	s, err := zero.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	require.True(t, s.Report().Has(diag.StepBehind))
	out := filepath.Join(t.TempDir(), "out")
	_, err = s.Merge(t.Context(), out, &zero.MergeOptions{Verify: true})
	require.ErrorIs(t, err, diag.WorkingCopyDiffers)
	require.NoFileExists(t, out)
	_, err = s.Merge(t.Context(), out, nil)
	require.NoError(t, err)
}

func TestCheckCRC(t *testing.T) {
	want, _ := merge(t, "odd-z3-fp32-w1", nil)
	dir := copyOf(t, "odd-z3-fp32-w1")
	name := filepath.Join(dir, "global_step2", "zero_pp_rank_0_mp_rank_00_optim_states.pt")
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	at := bytes.Index(data, want["embed.weight"].Data)
	require.Positive(t, at)
	data[at+5] ^= 1
	require.NoError(t, os.WriteFile(name, data, 0o600))
	s, err := zero.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	out := filepath.Join(t.TempDir(), "out.safetensors")
	_, err = s.Merge(t.Context(), out, &zero.MergeOptions{CheckCRC: true})
	require.ErrorIs(t, err, diag.ShardChecksum)
	require.NoFileExists(t, out)
}

// TestRankFilesSwapped: DeepSpeed's script merges them without a word.
func TestRankFilesSwapped(t *testing.T) {
	dir := copyOf(t, "qwen-z2-bf16-w2-g2")
	rank := func(r string) string {
		return filepath.Join(dir, "global_step2", "bf16_zero_pp_rank_"+r+"_mp_rank_00_optim_states.pt")
	}
	require.NoError(t, os.Rename(rank("0"), rank("9")))
	require.NoError(t, os.Rename(rank("1"), rank("0")))
	require.NoError(t, os.Rename(rank("9"), rank("1")))
	_, err := zero.Open(t.Context(), dir, nil)
	require.ErrorIs(t, err, diag.FragmentPlace)
}

func TestExpertsMissing(t *testing.T) {
	dir := copyOf(t, "moe-z2-fp32-w2")
	require.NoError(t, os.Remove(filepath.Join(dir, "global_step2", "layer_0_expert_3_mp_rank_00_model_states.pt")))
	_, err := zero.Open(t.Context(), dir, nil)
	require.ErrorIs(t, err, diag.RankMissing)
}

// TestVerifyGathered: stage 3 saves no working copy; the Trainer gathers one.
func TestVerifyGathered(t *testing.T) {
	dir := copyOf(t, "hf-z3-lora-bf16-w2/checkpoint-6")
	s, err := zero.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	require.Equal(t, 3, s.Stage)
	out := filepath.Join(t.TempDir(), "out")
	stats, err := s.Merge(t.Context(), out, &zero.MergeOptions{Verify: true})
	require.NoError(t, err)
	require.Equal(t, stats.Tensors, stats.Verified)
	require.Equal(t, []string{"adapter_model.safetensors"}, stats.VerifiedWith)
	require.False(t, stats.Report.Has(diag.WorkingCopyAbsent))

	name := filepath.Join(dir, "adapter_model.safetensors")
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	data[len(data)-1] ^= 1
	require.NoError(t, os.WriteFile(name, data, 0o600))
	_, err = s.Merge(t.Context(), filepath.Join(t.TempDir(), "out"), &zero.MergeOptions{Verify: true})
	require.ErrorIs(t, err, diag.WorkingCopyDiffers)
	require.ErrorContains(t, err, "adapter_model.safetensors")
}

func TestVerifySaysWhatItCompared(t *testing.T) {
	for _, c := range []struct {
		dir      string
		verified int
		with     []string
		absent   bool
	}{
		{"odd-z2-bf16-w4-g3", 9, []string{"global_step2/mp_rank_00_model_states.pt"}, false},
		{"odd-z3-bf16-w2-g2", 0, nil, true},
		{"fsdp-w2", 0, nil, true},
		{"pipe-z1-bf16-pp2", 6, []string{"global_step1/layer_00-model_states.pt", "global_step1/layer_02-model_states.pt", "global_step1/layer_03-model_states.pt"}, false},
	} {
		t.Run(c.dir, func(t *testing.T) {
			s, err := zero.Open(t.Context(), filepath.Join("testdata", c.dir), nil)
			require.NoError(t, err)
			stats, err := s.Merge(t.Context(), filepath.Join(t.TempDir(), "out"), &zero.MergeOptions{Verify: true})
			require.NoError(t, err)
			require.Equal(t, c.verified, stats.Verified)
			require.Equal(t, c.with, stats.VerifiedWith)
			require.Equal(t, c.absent, stats.Report.Has(diag.WorkingCopyAbsent))
			require.False(t, s.Report().Has(diag.WorkingCopyAbsent), "a merge does not change the shards' report")
		})
	}
}

func TestCheckCRCofFSDP(t *testing.T) {
	want, _ := merge(t, "fsdp-w2", &zero.MergeOptions{CheckCRC: true})
	dir := copyOf(t, "fsdp-w2")
	name := filepath.Join(dir, "pytorch_model_fsdp_0", "__1_0.distcp")
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	tensor := want["model.layers.1.mlp.up_proj.weight"].Data
	at := bytes.Index(data, tensor[len(tensor)-64:])
	require.Positive(t, at)
	data[at] ^= 1
	require.NoError(t, os.WriteFile(name, data, 0o600))
	s, err := zero.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	_, err = s.Merge(t.Context(), filepath.Join(t.TempDir(), "out"), &zero.MergeOptions{CheckCRC: true})
	require.ErrorIs(t, err, diag.ShardChecksum)
	var e *zero.Error
	require.ErrorAs(t, err, &e)
	p := e.Report.Problems()[0]
	require.Equal(t, "pytorch_model_fsdp_0/__1_0.distcp", p.File)
	require.LessOrEqual(t, *p.Offset, int64(at))
	require.Greater(t, *p.Offset, int64(at-len(tensor)))
}
