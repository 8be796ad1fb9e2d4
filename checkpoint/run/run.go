package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/safeckpt/safeckpt/checkpoint"
)

// Options configures Open. Nil means defaults.
type Options struct {
	// Policy is how the run saves; nil means that of the newest training_args.bin.
	Policy *Policy
	// Workers is how many checkpoints are looked at at once; 0 means as many as
	// there are processors.
	Workers int
}

// A Run is the output directory of a training run, as it was when it was opened.
type Run struct {
	Dir         string
	Checkpoints []*Checkpoint // checkpoint-N, in step order
	// Others are directories that are named checkpoint-* but not checkpoint-N: the
	// Trainer's rotation counts and deletes them too.
	Others    []string
	Leftovers []Leftover
	Logs      []Log
	Policy    *Policy // nil if not known

	// BestPath is best_model_checkpoint as the newest trainer_state.json has it,
	// "" if there is none.
	BestPath string
	// Free is how many bytes this user may still write there; -1 if not known.
	Free int64

	dirs []Dir // what the Trainer's rotation sees
	log  *history
}

// A Checkpoint is one checkpoint-N of a run.
type Checkpoint struct {
	Name    string // checkpoint-N
	Path    string // Run.Dir and Name
	Step    int    // N
	Epoch   float64
	Loss    float64 // newest logged; NaN if there is none
	Metric  float64 // of metric_for_best_model at this step; NaN if there is none
	Kind    checkpoint.Kind
	State   checkpoint.State
	Bytes   int64 // of all files in it
	ModTime time.Time
	Symlink bool // the directory is a symbolic link

	Complete  bool // by structure: see checkpoint.Checkpoint.Complete
	Resumable checkpoint.Resumable
	Reasons   []string
	Best      bool  // best_model_checkpoint leads here
	Err       error // why it could not be looked at

	info    fs.FileInfo // of the directory, for os.SameFile
	trainer *checkpoint.TrainerState
	written time.Time // newest file in it
	saved   time.Time // trainer_state.json, the last file of the save; zero if there is none
}

// Usable reports whether the checkpoint is whole and something can be done with
// it: training can go on or its weights can be loaded.
func (c *Checkpoint) Usable() bool {
	return c.Err == nil && c.Complete && c.Resumable != checkpoint.ResumeNo
}

var stepDir = regexp.MustCompile(`^checkpoint-(\d+)$`)

// ErrNoRun is matched by the error of a directory without checkpoints.
var ErrNoRun = errors.New("no checkpoint-N directory and nothing of the Trainer's")

// Open looks at a run. A checkpoint that cannot be looked at has its Err set; the
// error is about the directory itself, or ctx's.
func Open(ctx context.Context, dir string, o *Options) (*Run, error) {
	if o == nil {
		o = &Options{}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	r := &Run{Dir: dir, Policy: o.Policy, Free: -1}
	if free, err := freeBytes(dir); err == nil {
		r.Free = free
	}
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(dir, name)
		switch {
		case strings.HasPrefix(name, "checkpoint-"):
			info, err := os.Stat(path)
			if err != nil || !info.IsDir() {
				continue
			}
			link := e.Type()&fs.ModeSymlink != 0
			r.dirs = append(r.dirs, Dir{Name: name, ModTime: info.ModTime(), Symlink: link})
			m := stepDir.FindStringSubmatch(name)
			step, err := 0, error(nil)
			if m != nil {
				step, err = strconv.Atoi(m[1])
			}
			if m == nil || err != nil {
				r.Others = append(r.Others, name)
				continue
			}
			r.Checkpoints = append(r.Checkpoints, &Checkpoint{Name: name, Path: path, Step: step, Epoch: math.NaN(),
				Loss: math.NaN(), Metric: math.NaN(), ModTime: info.ModTime(), Symlink: link, info: info})
		default:
			r.addLeftover(name, path, e)
			r.addLog(name, path, e)
		}
	}
	slices.SortFunc(r.Checkpoints, func(a, b *Checkpoint) int {
		if a.Step != b.Step {
			return a.Step - b.Step
		}
		return strings.Compare(a.Name, b.Name)
	})
	leftovers := make([][]Leftover, len(r.Checkpoints))
	args := &argsCache{}
	parallel(len(r.Checkpoints), o.Workers, func(next func() (i int, ok bool)) {
		var d dirReader
		for i, ok := next(); ok && ctx.Err() == nil; i, ok = next() {
			leftovers[i] = r.Checkpoints[i].look(ctx, &d, args)
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, l := range leftovers {
		r.Leftovers = append(r.Leftovers, l...)
	}
	r.findPolicy(ctx)
	r.findBest()
	return r, nil
}

// parallel runs work in several goroutines and waits for them. next gives each
// number from 0 to n-1 to one of them.
func parallel(n, workers int, work func(next func() (i int, ok bool))) {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range min(n, workers) {
		wg.Go(func() {
			work(func() (int, bool) {
				i := int(taken.Add(1)) - 1
				return i, i < n
			})
		})
	}
	wg.Wait()
}

// look fills in what the files say.
func (c *Checkpoint) look(ctx context.Context, d *dirReader, args *argsCache) []Leftover {
	leftovers := c.walk(d)
	ck, err := checkpoint.Open(ctx, c.Path, &checkpoint.Options{TrainingArgs: args.read(ctx, c.Path)})
	if err != nil {
		c.Err = err
		return leftovers
	}
	defer func() {
		if err := ck.Close(); c.Err == nil {
			c.Err = err
		}
	}()
	c.Kind, c.State = ck.Kind(), ck.State()
	how := ck.Resumption(ctx)
	c.Complete, c.Resumable, c.Reasons = how.Complete, how.Resumable, how.Reasons
	if s := ck.TrainerState(); s != nil {
		c.trainer, c.Epoch, c.Loss = s, s.Epoch, s.LastLoss
	}
	if half := c.halfDeleted(); half != nil {
		leftovers = append(leftovers, *half)
	}
	return append(leftovers, c.orphans(ck.Model())...)
}

// walk counts bytes and finds leftovers.
func (c *Checkpoint) walk(d *dirReader) (leftovers []Leftover) {
	root := c.Path
	if c.Symlink {
		if target, err := filepath.EvalSymlinks(root); err == nil {
			root = target
		}
	}
	leftover := func(path, why string) {
		if info, err := os.Lstat(path); err == nil && !c.Symlink {
			size, newest := treeSize(path, info)
			leftovers = append(leftovers, Leftover{path, size, newest, why, info})
		}
	}
	for dirs := []string{root}; len(dirs) > 0; {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		_ = d.read(dir, func(name string, st fileStat, err error) { // what cannot be read is said by Open
			path := dir + string(filepath.Separator) + name
			switch {
			case err != nil:
			case st.dir && strings.HasPrefix(name, trashPrefix):
				leftover(path, "half-deleted: a deletion by safeckpt was killed")
			case st.dir:
				dirs = append(dirs, path)
			default:
				c.Bytes += st.size
				c.written = later(c.written, st.modTime)
				if name == "trainer_state.json" && dir == root {
					c.saved = st.modTime
				}
				if isTemp(name) {
					leftover(path, "temporary file of a save that was killed")
				}
			}
		})
	}
	return leftovers
}

// Latest returns the checkpoint of the highest step, which the Trainer resumes
// from whatever is in it, or nil. Follows trainer_utils.py, get_last_checkpoint.
func (r *Run) Latest() *Checkpoint {
	if len(r.Checkpoints) == 0 {
		return nil
	}
	return r.Checkpoints[len(r.Checkpoints)-1]
}

// LatestUsable returns the checkpoint of the highest step that is whole, or nil.
func (r *Run) LatestUsable() *Checkpoint {
	for _, c := range slices.Backward(r.Checkpoints) {
		if c.Usable() {
			return c
		}
	}
	return nil
}

// Best returns the checkpoint that best_model_checkpoint leads to, or nil.
func (r *Run) Best() *Checkpoint {
	for _, c := range r.Checkpoints {
		if c.Best {
			return c
		}
	}
	return nil
}

// At returns the checkpoint of a step.
func (r *Run) At(step int) (*Checkpoint, error) {
	for _, c := range r.Checkpoints {
		if c.Step == step {
			return c, nil
		}
	}
	return nil, fmt.Errorf("%s: no checkpoint-%d", r.Dir, step)
}

// newest returns the state that was written last: of a new run in an old
// directory that is not the one of the highest step.
func (r *Run) newest() *Checkpoint {
	var newest *Checkpoint
	for _, c := range r.Checkpoints {
		if c.trainer != nil && (newest == nil || !c.written.Before(newest.written)) {
			newest = c
		}
	}
	return newest
}

// findBest reads which checkpoint is best out of the newest state, and the
// metric at each step.
func (r *Run) findBest() {
	newest := r.newest()
	if newest == nil {
		return
	}
	r.BestPath = newest.trainer.BestCheckpoint
	if r.BestPath != "" {
		if c := r.resolve(r.BestPath); c != nil {
			c.Best = true
		}
	}
	metric := ""
	if r.Policy != nil {
		metric = r.Policy.Metric
	}
	r.log = readHistory(newest.Path)
	for _, c := range r.Checkpoints {
		if v, ok := r.log.metric(metric, c.Step); ok {
			c.Metric = v
		} else if c.Step == newest.trainer.BestStep {
			c.Metric = newest.trainer.BestMetric
		}
	}
}

// resolve finds the checkpoint that a path of the run's own writing leads to: it
// may be relative to another directory than ours, or of another machine.
func (r *Run) resolve(path string) *Checkpoint {
	if info, err := os.Stat(path); err == nil {
		for _, c := range r.Checkpoints {
			if os.SameFile(info, c.info) {
				return c
			}
		}
	}
	base := filepath.Base(filepath.FromSlash(path))
	for _, c := range r.Checkpoints {
		if c.Name == base {
			return c
		}
	}
	return nil
}

// SecondsPerSave returns the pace of saves so far, from when the checkpoints that
// are there were written; 0 if there are fewer than two.
func (r *Run) SecondsPerSave() float64 {
	var times []time.Time
	for _, c := range r.Checkpoints {
		if c.trainer != nil {
			times = append(times, c.written)
		}
	}
	if len(times) < 2 {
		return 0
	}
	first := slices.MinFunc(times, time.Time.Compare)
	last := slices.MaxFunc(times, time.Time.Compare)
	return last.Sub(first).Seconds() / float64(len(times)-1)
}
