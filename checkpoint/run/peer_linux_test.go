package run

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint"
)

// start runs a training in the background, until its first step is done.
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
