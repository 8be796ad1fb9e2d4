package run

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
)

func TestForecast(t *testing.T) {
	dir := copyRun(t, "trainer-full-all")
	edit(t, filepath.Join(dir, "checkpoint-40/trainer_state.json"), `"max_steps": 40`, `"max_steps": 100`)
	age(t, dir) // a minute apart, the newest an hour and a minute old
	policy := &Policy{}
	policy.SaveStrategy, policy.SaveSteps = "steps", 10
	r, err := Open(t.Context(), dir, &Options{Policy: policy})
	require.NoError(t, err)
	require.Positive(t, r.Free)
	save := r.Checkpoints[3].Bytes
	const overdue = time.Second
	for name, tt := range map[string]struct {
		free  int64 // in saves
		limit int
		last  int // max_steps
		want  Forecast
	}{
		"all six fit":                  {free: 6, last: 100, want: Forecast{Fit: -1}},
		"five of six fit":              {free: 5, last: 100, want: Forecast{Fit: 5, FullIn: overdue}},
		"none fits":                    {free: 0, last: 100, want: Forecast{Fit: 0, FullIn: overdue}},
		"rotated: one more is enough":  {free: 1, limit: 2, last: 100, want: Forecast{Fit: -1}},
		"rotated, but no room for one": {free: 0, limit: 2, last: 100, want: Forecast{Fit: 0, FullIn: overdue}},
		"not yet rotated":              {free: 2, limit: 6, last: 100, want: Forecast{Fit: 2, FullIn: overdue}},
		"the last save":                {free: 1, last: 45, want: Forecast{Fit: -1}},
		"finished":                     {free: 0, last: 40, want: Forecast{Fit: -1}},
		"free space is not known":      {free: -1, last: 100, want: Forecast{Fit: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			r.Free = tt.free * save
			if tt.free < 0 {
				r.Free = -1
			}
			policy.SaveTotalLimit = tt.limit
			r.Checkpoints[3].trainer.MaxSteps = tt.last
			tt.want.Save = save
			require.Equal(t, tt.want, r.Forecast())
			p := r.PredictSave()
			require.Equal(t, tt.want.Fit >= 0, p.Report.Has(diag.DiskFull))
		})
	}
	t.Run("due in the future", func(t *testing.T) {
		r.Free, policy.SaveTotalLimit, r.Checkpoints[3].trainer.MaxSteps = 90*save, 0, 10_000
		f := r.Forecast()
		require.Equal(t, 90, f.Fit)
		require.InDelta(t, (91*time.Minute - 61*time.Minute).Seconds(), f.FullIn.Seconds(), 60)
		problem := r.PredictSave().Report.Problems()[0]
		require.Equal(t, diag.DiskFull, problem.Code)
		require.Contains(t, problem.Message, "the save after 90 more finds no room, in about ")
		require.Contains(t, problem.Fix, "safeckpt runs clean "+dir)
	})
	t.Run("metrics", func(t *testing.T) {
		var b strings.Builder
		require.NoError(t, WriteOpenMetrics(&b, []Status{{Run: r, Prediction: r.PredictSave()}}))
		require.Contains(t, b.String(), "\nsafeckpt_full_in_seconds{run=")
		require.Contains(t, b.String(), "\nsafeckpt_next_save_bytes{run=")
	})
}

func TestCheckFree(t *testing.T) {
	e, err := EstimateConfig([]byte(qwen25VL7B), &EstimateOptions{Engine: "zero2", MaxSteps: 2000, SaveSteps: 500, Limit: 3})
	require.NoError(t, err)
	require.Nil(t, e.CheckFree(e.Peak))
	require.Nil(t, e.CheckFree(-1))
	p := e.CheckFree(410e9)
	require.Equal(t, diag.DiskFull, p.Code)
	require.Equal(t, "the plan does not fit on the disk: 547.28 GB wanted, 410.00 GB free", p.Message)
}

// TestWatchWarnsOnce: the message names sizes, which change; a warning whose
// cause went away and came again is one again.
func TestWatchWarnsOnce(t *testing.T) {
	dir := copyRun(t, "trainer-full-all")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "checkpoint-best"), 0o755))
	w := NewWatcher([]string{dir}, &WatchOptions{Quiet: time.Hour * 9})
	look := func() (codes []diag.Code) {
		events, _, err := w.Look(t.Context())
		require.NoError(t, err)
		for _, e := range events {
			codes = append(codes, e.Problem.Code)
		}
		return codes
	}
	require.Equal(t, []diag.Code{diag.RotationCounts}, look())
	require.Empty(t, look())
	require.NoError(t, os.Remove(filepath.Join(dir, "checkpoint-best")))
	require.Empty(t, look())
	require.NoError(t, os.Mkdir(filepath.Join(dir, "checkpoint-best"), 0o755))
	require.Equal(t, []diag.Code{diag.RotationCounts}, look())
}

func TestOrphanedShards(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	step := filepath.Join(dir, "checkpoint-7")
	require.NoError(t, os.CopyFS(step, os.DirFS(real+"/llama-tiny-sharded")))
	state := `{"global_step": 7, "max_steps": 9, "epoch": 1.0, "log_history": []}`
	require.NoError(t, os.WriteFile(filepath.Join(step, "trainer_state.json"), []byte(state), 0o644))
	shards, err := filepath.Glob(filepath.Join(step, "model-*-of-*.safetensors"))
	require.NoError(t, err)
	require.Greater(t, len(shards), 1)
	data, err := os.ReadFile(shards[0])
	require.NoError(t, err)
	orphan := filepath.Join(step, "model-00001-of-00099.safetensors")
	require.NoError(t, os.WriteFile(orphan, data, 0o644))
	lost := strings.Replace(shards[0], "model-00001", "model-00000", 1) // as many as the index has: it may be the model's
	require.NoError(t, os.WriteFile(lost, data, 0o644))
	age(t, dir)
	require.Len(t, open(t, dir).Leftovers, 1)
	p, err := PlanClean(t.Context(), []string{dir}, nil)
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Base(orphan)}, deletes(p))
	_, err = p.Apply(t.Context(), nil)
	require.NoError(t, err)
	require.FileExists(t, lost)
	require.True(t, open(t, dir).Checkpoints[0].Complete)
	require.Empty(t, open(t, dir).Leftovers)
}
