package run

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint"
)

func python(t *testing.T) string {
	path := os.Getenv("SAFECKPT_PYTHON")
	if path == "" {
		t.Skip("SKIPPED: set SAFECKPT_PYTHON to a Python with transformers 5.23 and peft")
	}
	return path
}

// train runs testdata/train.py to its end and returns its last line.
func train(t *testing.T, args ...string) (string, error) {
	out, err := exec.Command(python(t), append([]string{"testdata/train.py"}, args...)...).CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1], err
}

// start runs it in the background, until its first step is done.
func start(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.Command(python(t), append([]string{"testdata/train.py"}, args...)...)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if lines.Text() == "ready" {
			go func() {
				for lines.Scan() {
				}
			}()
			return cmd
		}
	}
	t.Fatal("the training did not start")
	return nil
}

// TestPeerSave asks a real training for checkpoints, and one that would die of it.
func TestPeerSave(t *testing.T) {
	python(t)
	for _, kind := range []string{"full", "lora"} {
		t.Run(kind, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "out")
			require.NoError(t, os.Mkdir(dir, 0o755))
			args := []string{"--output_dir", dir, "--handler", "--pause", "0.3", "--max_steps", "10000", "--save_steps", "5000"}
			if kind == "lora" {
				args = append(args, "--lora")
			}
			cmd := start(t, args...)
			w := NewWatcher([]string{filepath.Dir(dir)}, &WatchOptions{Quiet: 100 * time.Millisecond})
			seen := map[string]bool{}
			for range 3 {
				c, err := Save(t.Context(), dir, &SaveOptions{Interval: 200 * time.Millisecond, Timeout: time.Minute})
				require.NoError(t, err)
				require.False(t, seen[c.Name], "not a new one")
				seen[c.Name] = true
				require.Equal(t, checkpoint.ResumeExact, c.Resumable)
				events, _, err := w.Look(t.Context())
				require.NoError(t, err)
				require.NotEmpty(t, events)
				for _, e := range events {
					require.NoError(t, e.Err)
					require.True(t, e.Result == nil || e.Result.Valid())
				}
			}
			require.Len(t, open(t, dir).Checkpoints, 2, "save_total_limit")
			require.NoError(t, cmd.Process.Signal(os.Signal(os.Kill)))
		})
	}
	t.Run("no handler", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "out")
		require.NoError(t, os.Mkdir(dir, 0o755))
		cmd := start(t, "--output_dir", dir, "--pause", "0.2", "--max_steps", "10000", "--save_steps", "5000")
		_, err := Save(t.Context(), dir, &SaveOptions{Timeout: time.Second})
		require.ErrorIs(t, err, ErrNotCaught)
		require.True(t, alive(cmd.Process.Pid))
	})
}

// TestPeerResume takes files away and holds our verdict against what the Trainer
// does: it goes on with optimizer step 6 (exact), with a new optimizer (step 2,
// without a word), or it fails.
func TestPeerResume(t *testing.T) {
	python(t)
	dir := filepath.Join(t.TempDir(), "out")
	last, err := train(t, "--output_dir", dir, "--max_steps", "4", "--save_steps", "4")
	require.NoError(t, err, last)
	require.Equal(t, "optimizer 4", last)
	for name, tt := range map[string]struct {
		damage func(dir string) error
		want   checkpoint.Resumable
		last   string // "" if it fails
	}{
		"whole":            {func(string) error { return nil }, checkpoint.ResumeExact, "optimizer 6"},
		"no optimizer.pt":  {drop("optimizer.pt"), checkpoint.ResumeWeightsOnly, "optimizer 2"},
		"no scheduler.pt":  {drop("scheduler.pt"), checkpoint.ResumeWeightsOnly, "optimizer 2"},
		"no rng_state.pth": {drop("rng_state.pth"), checkpoint.ResumeWeightsOnly, "optimizer 6"},
		"no training_args": {drop("training_args.bin"), checkpoint.ResumeExact, "optimizer 6"},
		"no trainer_state": {drop("trainer_state.json"), checkpoint.ResumeWeightsOnly, ""},
		"no weights":       {drop("model.safetensors"), checkpoint.ResumeNo, ""},
		"weights cut":      {cut("model.safetensors"), checkpoint.ResumeNo, ""},
		"optimizer.pt cut": {cut("optimizer.pt"), checkpoint.ResumeWeightsOnly, ""},
		"sentinel is there": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "checkpoint-is-incomplete.txt"), nil, 0o644)
		}, checkpoint.ResumeNo, "optimizer 6"},
		"trainer_state cut":  {cut("trainer_state.json"), checkpoint.ResumeWeightsOnly, ""},
		"scheduler.pt empty": {func(dir string) error { return os.Truncate(filepath.Join(dir, "scheduler.pt"), 0) }, checkpoint.ResumeWeightsOnly, ""},
	} {
		t.Run(name, func(t *testing.T) {
			run := filepath.Join(t.TempDir(), "out")
			require.NoError(t, os.CopyFS(run, os.DirFS(dir)))
			step := filepath.Join(run, "checkpoint-4")
			require.NoError(t, tt.damage(step))
			c, err := checkpoint.Open(context.Background(), step, nil)
			require.NoError(t, err)
			require.Equal(t, tt.want, c.Resumption(context.Background()).Resumable)
			require.NoError(t, c.Close())
			last, err := train(t, "--output_dir", run, "--max_steps", "6", "--save_steps", "100", "--resume", step)
			if tt.last == "" {
				require.Error(t, err, "the Trainer went on: %s", last)
				return
			}
			require.NoError(t, err, last)
			require.Equal(t, tt.last, last)
		})
	}
}

func drop(name string) func(string) error {
	return func(dir string) error { return os.Remove(filepath.Join(dir, name)) }
}

func cut(name string) func(string) error {
	return func(dir string) error {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		return os.Truncate(filepath.Join(dir, name), info.Size()/2)
	}
}
