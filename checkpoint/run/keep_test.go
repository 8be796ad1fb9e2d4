package run

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint"
)

// snapshot records names, sizes and times of everything below dir.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	seen := make(map[string]string)
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		seen[path] = info.ModTime().String() + info.Mode().String()
		return nil
	}))
	return seen
}

func TestKeep(t *testing.T) {
	for _, link := range []bool{false, true} {
		dir, to := copyRun(t, "trainer-full-all"), filepath.Join(t.TempDir(), "kept", "here")
		before := snapshot(t, dir)
		var done, total int64
		o := &KeepOptions{HardLink: link, Progress: func(d, n int64) { done, total = d, n }}
		got, err := Keep(t.Context(), filepath.Join(dir, "checkpoint-20"), to, o)
		require.NoError(t, err)
		require.Equal(t, "trainer-full-all-checkpoint-20", filepath.Base(got))
		require.Equal(t, total, done)
		require.Positive(t, total)
		require.Equal(t, before, snapshot(t, dir), "the source was touched")
		require.NoError(t, checkpoint.Check(t.Context(), got, nil))
		if sha, err := exec.LookPath("sha256sum"); err == nil {
			cmd := exec.Command(sha, "--strict", "-c", sumsFile)
			cmd.Dir = got
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
		}
		again, err := Keep(t.Context(), filepath.Join(dir, "checkpoint-20"), to, o)
		require.NoError(t, err, "kept already")
		require.Equal(t, got, again)
		if !link {
			require.NoError(t, os.WriteFile(filepath.Join(got, "config.json"), []byte("{}"), 0o644))
			_, err = Keep(t.Context(), filepath.Join(dir, "checkpoint-20"), to, o)
			require.ErrorContains(t, err, "is not a copy")
		}
	}
}

func TestKeepRefuses(t *testing.T) {
	dir := copyRun(t, "trainer-full-all")
	src := filepath.Join(dir, "checkpoint-20")
	for name, tt := range map[string]struct{ to, name, want string }{
		"into the checkpoint":      {filepath.Join(src, "x"), "", "inside the checkpoint"},
		"where rotation looks":     {filepath.Join(dir, "checkpoint-keep"), "", "rotation deletes"},
		"a name that is rotated":   {t.TempDir(), "checkpoint-best", "rotation deletes"},
		"a name that leads away":   {t.TempDir(), "../x", "cannot be the copy's name"},
		"a name of two components": {t.TempDir(), "a/b", "cannot be the copy's name"},
	} {
		_, err := Keep(t.Context(), src, tt.to, &KeepOptions{Name: tt.name})
		require.ErrorContains(t, err, tt.want, name)
	}
	require.NoError(t, os.Remove(filepath.Join(src, "trainer_state.json")))
	_, err := Keep(t.Context(), src, t.TempDir(), nil)
	require.ErrorContains(t, err, "not a complete checkpoint")
}

func TestKeepKilledAtEveryStep(t *testing.T) {
	dir := copyRun(t, "trainer-lora-all-state")
	src, before := filepath.Join(dir, "checkpoint-20"), snapshot(t, dir)
	for n := 0; ; n++ {
		to := t.TempDir()
		_, err := Keep(t.Context(), src, to, &KeepOptions{step: killAfter(n)})
		require.Equal(t, before, snapshot(t, dir))
		target := filepath.Join(to, "trainer-lora-all-state-checkpoint-20")
		if _, statErr := os.Stat(target); statErr == nil {
			require.NoError(t, checkpoint.Check(t.Context(), target, nil), "step %d: looks whole and is not", n)
		}
		if err == nil {
			require.Greater(t, n, 40, "the steps were not counted")
			break
		}
		require.ErrorIs(t, err, errKilled)
		_, err = Keep(t.Context(), src, to, nil)
		require.NoError(t, err, "a second run finishes")
		p, err := PlanClean(t.Context(), []string{to}, &CleanOptions{MinAge: 1})
		require.NoError(t, err)
		_, err = p.Apply(t.Context(), nil)
		require.NoError(t, err)
		entries, err := os.ReadDir(to)
		require.NoError(t, err)
		require.Len(t, entries, 1, "step %d: something is left", n)
	}
}

func TestKeepDiskFull(t *testing.T) {
	dir := copyRun(t, "trainer-full-all")
	before := snapshot(t, dir)
	for _, op := range []string{"mkdir", "create", "write", "sync", "rename"} {
		to := t.TempDir()
		_, err := Keep(t.Context(), filepath.Join(dir, "checkpoint-20"), to, &KeepOptions{step: func(o, path string) error {
			if o == op && (op != "write" || strings.Contains(path, "optimizer")) {
				return &fs.PathError{Op: o, Path: path, Err: syscall.ENOSPC}
			}
			return nil
		}})
		if op == "write" && err == nil {
			continue // the file system shares bytes: nothing was written
		}
		require.ErrorIs(t, err, syscall.ENOSPC, op)
		entries, err := os.ReadDir(to)
		require.NoError(t, err)
		require.Empty(t, entries, "%s: something is left", op)
		require.Equal(t, before, snapshot(t, dir))
	}
}

func TestKeepSeesChanges(t *testing.T) {
	dir := copyRun(t, "trainer-full-all")
	src := filepath.Join(dir, "checkpoint-20")
	_, err := Keep(t.Context(), src, t.TempDir(), &KeepOptions{step: func(op, path string) error {
		if op == "create" && strings.HasSuffix(path, "training_args.bin") {
			return os.WriteFile(filepath.Join(src, "config.json"), []byte("{}"), 0o644)
		}
		return nil
	}})
	require.ErrorContains(t, err, "was changed while it was copied")
}

func TestClean(t *testing.T) {
	dir := copyRun(t, "trainer-full-best-limit2-peak2")
	for _, name := range []string{"tmp-checkpoint-9/x", trashPrefix + "checkpoint-1-A/x", "checkpoint-20/.tmpAb3xYz", "checkpoint-20/" + trashPrefix + "global_step1-B/x"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("12345"), 0o644))
	}
	p, err := PlanClean(t.Context(), []string{dir}, nil)
	require.NoError(t, err)
	require.Empty(t, p.Delete, "they are young")
	require.Len(t, p.Keep, 4+2)

	p, err = PlanClean(t.Context(), []string{filepath.Dir(dir)}, &CleanOptions{MinAge: 1})
	require.NoError(t, err)
	require.Len(t, p.Delete, 4)
	require.EqualValues(t, 20, p.Bytes())
	at, err := os.Stat(filepath.Join(dir, "checkpoint-20"))
	require.NoError(t, err)
	_, err = p.Apply(t.Context(), nil)
	require.NoError(t, err)
	now, err := os.Stat(filepath.Join(dir, "checkpoint-20"))
	require.NoError(t, err)
	require.Equal(t, at.ModTime(), now.ModTime(), "the rotation goes by that time")
	require.Empty(t, open(t, dir).Leftovers)
	requireSafe(t, dir, 40, -1)
}

func TestCleanOldRuns(t *testing.T) {
	dir := copyRun(t, "trainer-full-all")
	p, err := PlanClean(t.Context(), []string{dir}, &CleanOptions{OlderThan: 100 * 3600 * 1e9})
	require.NoError(t, err)
	require.Empty(t, p.Delete)
	p, err = PlanClean(t.Context(), []string{dir}, &CleanOptions{OlderThan: 1800 * 1e9})
	require.NoError(t, err)
	require.Equal(t, []string{"checkpoint-10", "checkpoint-20", "checkpoint-30"}, deletes(p))
}

func TestCleanKilledAtEveryStep(t *testing.T) {
	o := &CleanOptions{Optimizer: true, MinAge: 1}
	for n := 0; ; n++ {
		dir := copyRun(t, "trainer-lora-all-state")
		// DeepSpeed's state too: a directory inside the checkpoint.
		require.NoError(t, os.CopyFS(filepath.Join(dir, "checkpoint-10"), os.DirFS("../testdata/zero/z2")))
		age(t, dir)
		p, err := PlanClean(t.Context(), []string{dir}, o)
		require.NoError(t, err)
		_, err = p.Apply(t.Context(), &ApplyOptions{step: killAfter(n)})
		requireSafe(t, dir, 20, n)
		require.Equal(t, checkpoint.ResumeExact, open(t, dir).Checkpoints[1].Resumable)
		if err == nil {
			require.Greater(t, n, 8)
			first := open(t, dir).Checkpoints[0]
			require.Equal(t, checkpoint.ResumeWeightsOnly, first.Resumable)
			require.NoDirExists(t, filepath.Join(first.Path, "global_step2"))
			require.NoFileExists(t, filepath.Join(first.Path, "optimizer.pt"))
			break
		}
		require.True(t, errors.Is(err, errKilled))
		p, err = PlanClean(t.Context(), []string{dir}, o)
		require.NoError(t, err)
		_, err = p.Apply(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, open(t, dir).Leftovers)
	}
}
