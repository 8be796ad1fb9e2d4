package run

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint"
)

var errKilled = errors.New("killed")

// killAfter returns a step that lets n operations happen and none after, as if
// the process had died.
func killAfter(n int) func(op, path string) error {
	return func(string, string) error {
		if n--; n < 0 {
			return errKilled
		}
		return nil
	}
}

func deletes(p *Plan) (names []string) {
	for _, d := range p.Delete {
		names = append(names, filepath.Base(d.Path))
	}
	return names
}

func TestPlanRotation(t *testing.T) {
	for name, tt := range map[string]struct {
		run     string
		options RotateOptions
		damage  func(dir string) error
		want    []string
	}{
		"newest 2":               {run: "trainer-full-all", options: RotateOptions{Limit: 2}, want: []string{"checkpoint-10", "checkpoint-20"}},
		"every 20":               {run: "trainer-full-all", options: RotateOptions{Limit: 1, Every: 20}, want: []string{"checkpoint-10", "checkpoint-30"}},
		"nothing over the limit": {run: "trainer-full-all", options: RotateOptions{Limit: 4}},
		"best stays":             {run: "trainer-full-best-limit2-peak2", options: RotateOptions{Limit: 1, Best: true}},
		"best does not count":    {run: "trainer-full-best-limit2-peak2", options: RotateOptions{Limit: 1}, want: []string{"checkpoint-20"}},
		"best by another metric": {run: "trainer-full-best-limit2-peak2", options: RotateOptions{Limit: 1, Best: true, Metric: "eval_loss", Greater: true}, want: []string{"checkpoint-20"}},
		"the last usable stays": {run: "trainer-full-all", options: RotateOptions{Limit: 1}, want: []string{"checkpoint-10", "checkpoint-30"}, damage: func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "checkpoint-40/trainer_state.json")), os.Truncate(filepath.Join(dir, "checkpoint-30/model.safetensors"), 9))
		}},
		"nothing usable, nothing deleted": {run: "trainer-full-epoch-limit2", options: RotateOptions{Limit: 1}, damage: func(dir string) error {
			return errors.Join(os.Truncate(filepath.Join(dir, "checkpoint-40/model.safetensors"), 9), os.Truncate(filepath.Join(dir, "checkpoint-60/model.safetensors"), 9))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyRun(t, tt.run)
			if tt.damage != nil {
				require.NoError(t, tt.damage(dir))
			}
			p, err := PlanRotation(t.Context(), dir, &tt.options)
			require.NoError(t, err)
			require.Equal(t, tt.want, deletes(p))
			require.Equal(t, len(open(t, dir).Checkpoints), len(p.Delete)+len(p.Keep))
			_, err = p.Apply(t.Context(), nil)
			require.NoError(t, err)
			again, err := PlanRotation(t.Context(), dir, &tt.options)
			require.NoError(t, err)
			require.Empty(t, again.Delete)
		})
	}
	_, err := PlanRotation(t.Context(), t.TempDir(), &RotateOptions{})
	require.ErrorContains(t, err, "at least 1")
}

// requireSafe: everything that looks like a checkpoint is whole, and the one that
// was the last usable is there.
func requireSafe(t *testing.T, dir string, usable int, at int) {
	t.Helper()
	found, err := checkpoint.Find(dir)
	require.NoError(t, err)
	for _, path := range found[1:] {
		c, err := checkpoint.Open(context.Background(), path, nil)
		require.NoError(t, err)
		require.True(t, c.Complete(context.Background()), "killed at step %d: %s looks whole and is not", at, path)
		require.NoError(t, c.Close())
	}
	r := open(t, dir)
	require.Equal(t, usable, r.LatestUsable().Step, "killed at step %d", at)
}

func TestRotationKilledAtEveryStep(t *testing.T) {
	o := &RotateOptions{Limit: 2}
	for n := 0; ; n++ {
		dir := copyRun(t, "trainer-full-all")
		p, err := PlanRotation(t.Context(), dir, o)
		require.NoError(t, err)
		_, err = p.Apply(t.Context(), &ApplyOptions{step: killAfter(n)})
		requireSafe(t, dir, 40, n)
		if err == nil {
			require.Greater(t, n, 20, "the steps were not counted")
			break
		}
		require.ErrorIs(t, err, errKilled)
		// A second run finishes the work.
		p, err = PlanRotation(t.Context(), dir, o)
		require.NoError(t, err)
		_, err = p.Apply(t.Context(), nil)
		require.NoError(t, err)
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 2, "killed at step %d: something is left", n)
	}
}

func TestApplyStale(t *testing.T) {
	touch := func(dir string) error {
		now := time.Now()
		return os.Chtimes(filepath.Join(dir, "checkpoint-10"), now, now)
	}
	for name, change := range map[string]func(dir string) error{
		"written into": touch,
		"replaced": func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, "checkpoint-10"), filepath.Join(dir, "x")), os.Mkdir(filepath.Join(dir, "checkpoint-10"), 0o755))
		},
		"gone": func(dir string) error { return os.RemoveAll(filepath.Join(dir, "checkpoint-10")) },
		"a symlink now": func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, "checkpoint-10"), filepath.Join(dir, "x")), os.Symlink("x", filepath.Join(dir, "checkpoint-10")))
		},
		"became the best": func(dir string) error {
			name := filepath.Join(dir, "checkpoint-40/trainer_state.json")
			text, err := os.ReadFile(name)
			text = []byte(strings.Replace(string(text), `"best_model_checkpoint": null`, `"best_model_checkpoint": "outputs/x/checkpoint-10"`, 1))
			return errors.Join(err, os.WriteFile(name, text, 0o644))
		},
		"became the last usable": func(dir string) error {
			for _, n := range []string{"checkpoint-20", "checkpoint-30", "checkpoint-40"} {
				if err := os.Truncate(filepath.Join(dir, n, "model.safetensors"), 9); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyRun(t, "trainer-full-all")
			p, err := PlanRotation(t.Context(), dir, &RotateOptions{Limit: 2, Best: true})
			require.NoError(t, err)
			require.Equal(t, []string{"checkpoint-10", "checkpoint-20"}, deletes(p))
			if err := change(dir); err != nil {
				if runtime.GOOS == "windows" {
					t.Skip(err)
				}
				require.NoError(t, err)
			}
			before := names2(open(t, dir))
			done, err := p.Apply(t.Context(), nil)
			require.ErrorIs(t, err, ErrPlanStale)
			require.Empty(t, done)
			require.Equal(t, before, names2(open(t, dir)), "something was deleted")
		})
	}
}

func TestSymlinkedCheckpointStays(t *testing.T) {
	dir, elsewhere := copyRun(t, "trainer-full-all"), t.TempDir()
	target := filepath.Join(elsewhere, "precious")
	require.NoError(t, os.Rename(filepath.Join(dir, "checkpoint-10"), target))
	if err := os.Symlink(target, filepath.Join(dir, "checkpoint-10")); err != nil {
		t.Skip(err)
	}
	// A symlink inside a checkpoint that is deleted: the link goes, its target stays.
	require.NoError(t, os.Symlink(target, filepath.Join(dir, "checkpoint-20", "link")))
	age(t, dir)
	p, err := PlanRotation(t.Context(), dir, &RotateOptions{Limit: 1})
	require.NoError(t, err)
	require.Equal(t, []string{"checkpoint-20", "checkpoint-30"}, deletes(p))
	_, err = p.Apply(t.Context(), nil)
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(target, "model.safetensors"))
	require.FileExists(t, filepath.Join(dir, "checkpoint-10", "model.safetensors"))
}

func TestNeverOutside(t *testing.T) {
	dir := copyRun(t, "trainer-full-all")
	root, err := resolveRun(dir)
	require.NoError(t, err)
	victim := filepath.Join(filepath.Dir(root), "victim")
	require.NoError(t, os.Mkdir(victim, 0o755))
	info, err := os.Lstat(victim)
	require.NoError(t, err)
	for _, path := range []string{victim, filepath.Join(root, "..", "victim")} {
		d := Deletion{Path: path, root: root, info: info}
		require.ErrorContains(t, d.apply(&ApplyOptions{}), "not inside")
	}
	require.DirExists(t, victim)
}

// A file that appears while a directory is deleted goes with it.
func TestFileAppearsDuringDeletion(t *testing.T) {
	dir := copyRun(t, "trainer-full-all")
	p, err := PlanRotation(t.Context(), dir, &RotateOptions{Limit: 3})
	require.NoError(t, err)
	appeared := 0
	_, err = p.Apply(t.Context(), &ApplyOptions{step: func(op, path string) error {
		if op == "rmdir" && appeared < 3 {
			appeared++
			return os.WriteFile(filepath.Join(dir, path, "late"), nil, 0o644)
		}
		return nil
	}})
	require.NoError(t, err)
	require.Equal(t, 3, appeared)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3)
}

// TestTwoRotations: together they must not delete more than one of them would.
func TestTwoRotations(t *testing.T) {
	dir := copyRun(t, "trainer-full-all")
	plans := make([]*Plan, 8)
	for i := range plans {
		p, err := PlanRotation(t.Context(), dir, &RotateOptions{Limit: 1 + i%3})
		require.NoError(t, err)
		plans[i] = p
	}
	var wg sync.WaitGroup
	for _, p := range plans {
		wg.Go(func() {
			_, err := p.Apply(context.Background(), nil)
			if err != nil && !errors.Is(err, ErrPlanStale) && !errors.Is(err, ErrLocked) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	requireSafe(t, dir, 40, -1)
}

func TestLocked(t *testing.T) {
	dir := copyRun(t, "trainer-full-all")
	p, err := PlanRotation(t.Context(), dir, &RotateOptions{Limit: 1})
	require.NoError(t, err)
	root, err := resolveRun(dir)
	require.NoError(t, err)
	unlock, err := lockDir(root)
	require.NoError(t, err)
	_, err = p.Apply(t.Context(), nil)
	require.ErrorIs(t, err, ErrLocked)
	unlock()
	_, err = p.Apply(t.Context(), nil)
	require.NoError(t, err)
}
