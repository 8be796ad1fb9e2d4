package checkpoint

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseTrainerState(t *testing.T) {
	s, err := ParseTrainerState([]byte(`{
		"global_step": 40, "max_steps": 100, "epoch": 2.5, "save_steps": 0.1,
		"best_global_step": 20, "best_metric": -Infinity, "best_model_checkpoint": "outputs/run/checkpoint-20",
		"log_history": [{"step": 10, "loss": 1.5, "grad_norm": 2}, {"step": 15, "loss": 1.25, "note": "x"},
			{"step": 20, "loss": NaN}, {"step": 30, "loss": "nan-as-text", "grad_norm": Infinity}]}`))
	require.NoError(t, err)
	require.Equal(t, &TrainerState{Step: 40, MaxSteps: 100, Epoch: 2.5, BestMetric: math.Inf(-1), BestStep: 20,
		BestCheckpoint: "outputs/run/checkpoint-20", FirstBadLoss: 20, LastLoss: s.LastLoss, SaveSteps: 0.1}, s)

	s, err = ParseTrainerState([]byte(`{"global_step": 7, "epoch": null, "best_metric": null, "best_global_step": null, "best_model_checkpoint": null}`))
	require.NoError(t, err)
	require.Equal(t, 7, s.Step)
	require.True(t, math.IsNaN(s.Epoch))
	require.True(t, math.IsNaN(s.BestMetric))
	require.Equal(t, -1, s.BestStep)
	require.Equal(t, -1, s.FirstBadLoss)
}

func TestParseTrainerStateRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty":       "",
		"cut":         `{"global_step": 4`,
		"no step":     `{"epoch": 1}`,
		"array":       `[1]`,
		"negative":    `{"global_step": -1}`,
		"fraction":    `{"global_step": 1.5}`,
		"nan":         `{"global_step": NaN}`,
		"huge":        `{"global_step": 1e300}`,
		"best as nan": `{"global_step": 1, "best_global_step": NaN}`,
		"string":      `{"global_step": "4"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseTrainerState([]byte(text))
			require.Error(t, err)
		})
	}
}

func FuzzParseTrainerState(f *testing.F) {
	seeds, err := filepath.Glob("../testdata/checkpoints/trainer-*/checkpoint-*/trainer_state.json")
	require.NoError(f, err)
	require.NotEmpty(f, seeds)
	for _, name := range seeds {
		text, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(text)
	}
	f.Add([]byte(`{"global_step":NaN,"log_history":[{"step":Infinity,"loss":-Infinity}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseTrainerState(data)
		if err == nil && (s.Step < 0 || s.BestStep < -1) {
			t.Fatalf("%+v", s)
		}
	})
}
