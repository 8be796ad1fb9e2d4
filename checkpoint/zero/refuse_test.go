package zero_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint/zero"
	"github.com/safeckpt/safeckpt/diag"
)

// refused are the broken and hostile checkpoints: code, file and what is said.
var refused = []struct {
	dir, file string
	code      diag.Code
	says      string
}{
	{"bad-stage", "global_step2/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", diag.StageUnknown, "zero_stage 7"},
	{"empty-rank", "global_step2/bf16_zero_pp_rank_3_mp_rank_00_optim_states.pt", diag.RankFileDamaged, "empty (0 bytes)"},
	{"huge-numel", "global_step2/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", diag.RankStorageShort, "data/6"},
	{"latest-nowhere", "latest", diag.TagNotFound, "global_step999 is not a directory here; there are: global_step2"},
	{"latest-traversal", "latest", diag.TagInvalid, "../../x is a path"},
	{"malicious-builtins-eval", "global_step2/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", diag.RankFileUnsafe, "eval"},
	{"malicious-in-model-states", "global_step2/mp_rank_00_model_states.pt", diag.RankFileUnsafe, "posix.system"},
	{"malicious-os-system", "global_step2/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt", diag.RankFileUnsafe, "os.system"},
	{"missing-model-states", "global_step2", diag.ModelStatesMissing, "no *_model_states.pt in global_step2"},
	{"missing-rank", "global_step2/bf16_zero_pp_rank_2_mp_rank_00_optim_states.pt", diag.RankMissing, "rank 2 of 4 is missing"},
	{"mixed-steps", "global_step3/zero_pp_rank_1_mp_rank_00_optim_states.pt", diag.RanksMixedSteps, "step 2, want 3"},
	{"no-latest", "latest", diag.TagMissing, "global_step2, global_step3"},
	{"not-zero", "global_step2/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", diag.NotZeRO, "ZeRO stage 0"},
	{"pickle-memo-bomb", "global_step2/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt", diag.RankFileContent, "tuple"},
	{"shape-mismatch", "global_step2/mp_rank_00_model_states.pt", diag.PartitionSize, "take 819 elements, but the flat groups of 4 ranks hold 927"},
	{"stale-extra-ranks", "global_step2/bf16_zero_pp_rank_2_mp_rank_00_optim_states.pt", diag.RankExtra, "partition_count 4"},
	{"stale-extra-ranks", "global_step2/bf16_zero_pp_rank_3_mp_rank_00_optim_states.pt", diag.RankExtra, "2 ranks (0 to 1)"},
	{"storage-missing", "global_step2/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", diag.RankStorageShort, "data/6"},
	{"storage-short", "global_step2/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", diag.RankStorageShort, "data/6"},
	{"truncated-rank", "global_step2/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt", diag.RankFileDamaged, "cut short"},
	{"z3-missing-model-rank", "global_step2/zero_pp_rank_1_mp_rank_00_model_states.pt", diag.RankMissing, "frozen parameter"},
	{"zip-deflate-bomb", "global_step2/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt", diag.RankFileDamaged, "compressed"},
}

func TestRefused(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(64 << 20))
	seen := make(map[string]bool)
	for _, c := range refused {
		seen[c.dir] = true
		t.Run(c.dir, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := zero.Open(t.Context(), filepath.Join("testdata/bad", c.dir), nil)
			runtime.ReadMemStats(&after)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(48<<20))
			var e *zero.Error
			require.ErrorAs(t, err, &e)
			require.ErrorIs(t, err, c.code)
			found := false
			for _, p := range e.Report.Problems() {
				if p.Severity == diag.Error {
					require.Equal(t, c.code, p.Code, "%s: %s", p.File, p.Message)
				}
				if p.Code == c.code && p.File == c.file {
					found = true
					require.Contains(t, p.Message, c.says)
					require.NotEmpty(t, p.Cause)
					require.NotEmpty(t, p.Fix)
				}
			}
			require.True(t, found, "%v", err)
		})
	}
	dirs, err := os.ReadDir("testdata/bad")
	require.NoError(t, err)
	for _, d := range dirs {
		require.True(t, seen[d.Name()], d.Name())
	}
	require.Len(t, dirs, 21)
}

func TestRefusedLayouts(t *testing.T) {
	for _, c := range []struct {
		dir  string
		code diag.Code
		says string
	}{
		{"tp-z1-bf16-tp2", diag.TensorParallel, "2 model-parallel ranks"},
		{"hf-z3-onlymodel-w2", diag.ShardsConsolidated, "model.safetensors"},
		{"hf-z2-lora-onlymodel-w2/checkpoint-6", diag.ShardsConsolidated, "adapter_model.safetensors"},
		{"bad/no-latest/nothing", diag.ShardsNotFound, ""},
	} {
		t.Run(c.dir, func(t *testing.T) {
			dir := filepath.Join("testdata", c.dir)
			if c.says == "" {
				dir = t.TempDir()
			}
			_, err := zero.Open(t.Context(), dir, nil)
			require.ErrorIs(t, err, c.code)
			require.ErrorContains(t, err, c.says)
			require.False(t, errors.Is(err, diag.RankMissing))
		})
	}
}
