package run

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint"
)

// start runs a training in the background, until its first step is done; before
// are arguments of Python's own.
func start(t *testing.T, before []string, args ...string) *exec.Cmd {
	cmd := exec.Command(python(t), append(append(before, "testdata/train.py"), args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a launcher's ranks end with it
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "ready") { // two ranks may write into one line
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
			cmd := start(t, nil, args...)
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
		cmd := start(t, nil, "--output_dir", dir, "--pause", "0.2", "--max_steps", "10000", "--save_steps", "5000")
		_, err := Save(t.Context(), dir, &SaveOptions{Timeout: time.Second})
		require.ErrorIs(t, err, ErrNotCaught)
		require.True(t, alive(cmd.Process.Pid))
	})
}

// TestPeerTorchrun saves from two processes (gloo): the ranks are found and
// signalled, not torchrun, and the checkpoint is of two.
func TestPeerTorchrun(t *testing.T) {
	python(t)
	dir := filepath.Join(t.TempDir(), "out")
	require.NoError(t, os.Mkdir(dir, 0o755))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	require.NoError(t, l.Close()) // free, most likely until torchrun takes it
	launcher := start(t, []string{"-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1", "--master_port", port},
		"--output_dir", dir, "--handler", "--pause", "0.3", "--max_steps", "10000", "--save_steps", "5000")
	found, err := FindProcesses(dir, &SaveOptions{})
	require.NoError(t, err)
	require.Len(t, found, 2)
	for _, p := range found {
		require.NotEqual(t, launcher.Process.Pid, p.PID)
		require.True(t, p.CatchesUSR1)
		require.False(t, p.Launcher)
	}
	c, err := Save(t.Context(), dir, &SaveOptions{Interval: 200 * time.Millisecond, Timeout: time.Minute})
	require.NoError(t, err)
	require.Equal(t, checkpoint.ResumeExact, c.Resumable)
	a, err := Advise(t.Context(), c.Path)
	require.NoError(t, err)
	require.Equal(t, 2, a.WorldSize)
	require.True(t, strings.HasSuffix(a.Argument, c.Path), a.Argument)

	require.NoError(t, os.Remove(filepath.Join(c.Path, "rng_state_1.pth")))
	a, err = Advise(t.Context(), c.Path)
	require.NoError(t, err)
	require.Equal(t, checkpoint.ResumeWeightsOnly, a.Resumable)
}
