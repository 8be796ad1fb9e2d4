package run

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/diag"
)

func stepName(n int) string { return fmt.Sprintf("checkpoint-%d", n) }

// copyRun copies a run that the Trainer wrote, and ages it: a minute lies between
// its checkpoints.
func copyRun(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(real, name))))
	age(t, dir)
	return dir
}

// age sets the times of all checkpoints: by step, a minute apart, the newest an
// hour old.
func age(t testing.TB, dir string) {
	t.Helper()
	r, err := Open(t.Context(), dir, nil)
	require.NoError(t, err)
	for i, c := range r.Checkpoints {
		at := time.Now().Add(-time.Hour - time.Duration(len(r.Checkpoints)-i)*time.Minute)
		require.NoError(t, filepath.WalkDir(c.Path, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Chtimes(path, at, at)
		}))
		require.NoError(t, os.Chtimes(c.Path, at, at))
	}
}

func open(t testing.TB, dir string) *Run {
	t.Helper()
	r, err := Open(t.Context(), dir, nil)
	require.NoError(t, err)
	return r
}

func TestOpen(t *testing.T) {
	r := open(t, copyRun(t, "trainer-full-best-limit2-peak2"))
	require.Len(t, r.Checkpoints, 2)
	best, last := r.Checkpoints[0], r.Checkpoints[1]
	require.Equal(t, 20, best.Step)
	require.True(t, best.Best)
	require.Equal(t, 0.9, best.Metric)
	require.Equal(t, 0.2, last.Metric)
	require.Equal(t, best, r.Best())
	require.Equal(t, last, r.Latest())
	require.Equal(t, last, r.LatestUsable())
	require.Equal(t, checkpoint.ResumeExact, last.Resumable)
	require.True(t, last.Complete)
	require.Equal(t, checkpoint.KindFull, last.Kind)
	require.InDelta(t, 3.8797, last.Loss, 1e-3)
	require.Equal(t, 2.0, last.Epoch)
	require.EqualValues(t, 24744+66526+1465+14327+5265+2963+786+153, last.Bytes)
	require.Equal(t, "outputs/full-best-limit2-peak2", r.Policy.OutputDir)
	require.Empty(t, r.Leftovers)
}

func TestOpenOddRuns(t *testing.T) {
	dir := copyRun(t, "trainer-full-all")
	remove := func(name string) { require.NoError(t, os.Remove(filepath.Join(dir, name))) }
	write := func(name string, size int) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o644))
	}
	remove("checkpoint-40/trainer_state.json") // killed before the last file
	write("checkpoint-30/.tmpAb3xYz", 77)
	write("checkpoint-50/.nfs0001", 5) // half-deleted
	write("tmp-checkpoint-60/model.safetensors", 10)
	write(".safeckpt-trash-checkpoint-5-x/optimizer.pt", 11)
	write("checkpoint-best/model.safetensors", 12)
	write("train.log", 13)
	write("checkpoint-99", 1) // a file
	r := open(t, dir)
	require.Equal(t, []string{"checkpoint-10", "checkpoint-20", "checkpoint-30", "checkpoint-40", "checkpoint-50"}, names2(r))
	require.Equal(t, []string{"checkpoint-best"}, r.Others)
	require.Equal(t, 30, r.LatestUsable().Step)
	require.Equal(t, 50, r.Latest().Step)
	var left []string
	for _, l := range r.Leftovers {
		rel, err := filepath.Rel(dir, l.Path)
		require.NoError(t, err)
		left = append(left, fmt.Sprint(filepath.ToSlash(rel), " ", l.Bytes))
	}
	slices.Sort(left)
	require.Equal(t, []string{".safeckpt-trash-checkpoint-5-x 11", "checkpoint-30/.tmpAb3xYz 77", "checkpoint-50 5", "tmp-checkpoint-60 10"}, left)
	require.Len(t, r.Logs, 1)
	require.EqualValues(t, 13, r.Logs[0].Bytes)

	p := r.PredictSave()
	require.True(t, p.Report.Has(diag.LatestNotUsable))
	require.True(t, p.Report.Has(diag.RotationCounts))
	require.Contains(t, p.Report.Problems()[0].Fix+p.Report.Problems()[1].Fix, "checkpoint-30")
}

func names2(r *Run) (names []string) {
	for _, c := range r.Checkpoints {
		names = append(names, c.Name)
	}
	return names
}

func TestPredictSave(t *testing.T) {
	dir := copyRun(t, "trainer-full-all")
	edit(t, filepath.Join(dir, "checkpoint-40/trainer_state.json"), `"max_steps": 40`, `"max_steps": 100`)
	age(t, dir)
	policy := &Policy{}
	policy.SaveStrategy, policy.SaveSteps, policy.SaveTotalLimit, policy.OutputDir = "steps", 10, 3, dir
	predict := func() *Prediction {
		r, err := Open(t.Context(), dir, &Options{Policy: policy})
		require.NoError(t, err)
		return r.PredictSave()
	}
	p := predict()
	require.Equal(t, 50, p.Next)
	require.Equal(t, []string{"checkpoint-10", "checkpoint-20"}, p.Deleted)
	require.Equal(t, []string{"checkpoint-40"}, p.Protected)
	require.Empty(t, p.Report.Problems())

	policy.SaveSteps = 0.25
	require.Equal(t, 50, predict().Next)
	policy.SaveSteps = 70
	require.Equal(t, 70, predict().Next)

	t.Run("best is spelled otherwise", func(t *testing.T) {
		edit(t, filepath.Join(dir, "checkpoint-40/trainer_state.json"), `"best_model_checkpoint": null`, `"best_model_checkpoint": "elsewhere/checkpoint-10"`)
		age(t, dir)
		p := predict()
		require.True(t, p.Report.Has(diag.BestUnprotected))
		require.True(t, p.Report.Has(diag.NextDeletesBest))
		require.Contains(t, p.Deleted, "checkpoint-10")
	})
	t.Run("newer ones are not whole", func(t *testing.T) {
		for _, n := range []int{30, 40} {
			require.NoError(t, os.Truncate(filepath.Join(dir, stepName(n), "model.safetensors"), 100))
		}
		age(t, dir)
		p := predict()
		require.True(t, p.Report.Has(diag.NextDeletesUsable), "%v", p.Report.Problems())
	})
	t.Run("a file written later", func(t *testing.T) {
		now := time.Now()
		require.NoError(t, os.Chtimes(filepath.Join(dir, "checkpoint-20"), now, now))
		require.True(t, predict().Report.Has(diag.TouchedLater))
	})
	t.Run("a new run in an old directory", func(t *testing.T) {
		age(t, dir)
		for _, name := range []string{"checkpoint-10", "checkpoint-10/trainer_state.json"} {
			now := time.Now()
			require.NoError(t, os.Chtimes(filepath.Join(dir, name), now, now))
		}
		require.True(t, predict().Report.Has(diag.RunOlder))
	})
	t.Run("finished", func(t *testing.T) {
		r := open(t, copyRun(t, "trainer-full-best-limit2-peak2"))
		require.Equal(t, -1, r.PredictSave().Next)
		require.Empty(t, r.PredictSave().Deleted)
	})
}

func edit(t *testing.T, name, old, new string) {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Contains(t, string(text), old)
	require.NoError(t, os.WriteFile(name, []byte(strings.Replace(string(text), old, new, 1)), 0o644))
}

func TestReadLaunchScript(t *testing.T) {
	name := filepath.Join(t.TempDir(), "run_8gpu.sh")
	require.NoError(t, os.WriteFile(name, []byte(`#!/bin/bash
# --save_steps 7 is a comment
export OUT="outputs/my run"
LIMIT=3; STEPS='250'
torchrun --nproc_per_node=8 train_grpo.py \
    --output_dir "$OUT/grpo" --save-steps ${STEPS} \
    --save_total_limit=${LIMIT} --save_only_model \
    --load_best_model_at_end true --metric_for_best_model eval_reward \
    --deepspeed configs/zero3.json --optim ${OPT:-adamw_8bit} --bf16 \
    --learning_rate 1e-6 2>&1 | tee train.log
`), 0o644))
	p, err := ReadLaunchScript(name)
	require.NoError(t, err)
	require.Equal(t, "outputs/my run/grpo", p.OutputDir)
	require.Equal(t, 250.0, p.SaveSteps)
	require.Equal(t, 3, p.SaveTotalLimit)
	require.True(t, p.SaveOnlyModel)
	require.True(t, p.LoadBestModelAtEnd)
	require.True(t, p.GreaterIsBetter)
	require.True(t, p.BF16)
	require.Equal(t, "eval_reward", p.Metric)
	require.Equal(t, "configs/zero3.json", p.DeepSpeed)
	require.Equal(t, "adamw_8bit", p.Optim)
	require.Equal(t, "steps", p.SaveStrategy)

	for text, want := range map[string]string{
		"echo hello":                                "no argument of the Trainer",
		"python t.py --save_steps many":             "want a number",
		"python t.py --save_total_limit":            "want a number",
		"'unterminated --output_dir x":              "no argument",
		"x \\\r\n --output_dir \"a":                 "",
		"\\":                                        "no argument",
		"python t.py --output_dir $ --save_steps 5": "",
	} {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
		_, err := ReadLaunchScript(name)
		if want == "" {
			require.NoError(t, err, text)
		} else {
			require.ErrorContains(t, err, want, text)
		}
	}
}

func FuzzShellWords(f *testing.F) {
	f.Add("A=b torchrun --x ${A} \"$A\" 'c' \\\n # d")
	f.Fuzz(func(t *testing.T, s string) { _, _ = parseArguments(shellWords(s)) })
}

func TestRatioIsNotLost(t *testing.T) {
	p := &Policy{}
	p.SaveSteps = 0.1
	require.Equal(t, 4, p.every(35))
	require.True(t, math.IsNaN(open(t, copyRun(t, "trainer-full-all")).Checkpoints[0].Metric))
}
