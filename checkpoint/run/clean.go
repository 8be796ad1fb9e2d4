package run

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/safeckpt/safeckpt/checkpoint"
)

// CleanOptions says what a cleaning deletes. Nil means leftovers only.
type CleanOptions struct {
	// OlderThan deletes, of runs that nothing was written to for that long, all
	// checkpoints but the newest usable one and the best; 0: none.
	OlderThan time.Duration
	// Optimizer deletes the training state (optimizer, scheduler, random state) of
	// all usable checkpoints but the newest; their weights stay.
	Optimizer bool
	// MinAge is how long nothing must have been written to a leftover; 0 means an
	// hour: a younger one may belong to a save that still runs.
	MinAge time.Duration
}

// stateFile matches what only training needs, in a checkpoint whose weights lie
// in files of their own.
var stateFile = regexp.MustCompile(`^(optimizer(_\d+)?\.(pt|bin)|scheduler\.pt|scaler\.pt|rng_state(_\d+)?\.pth|rank\d+-of-\d+-optimizer\.pt|latest|global_step\d+|optimizer_\d+|pytorch_model_fsdp_\d+)$`)

// PlanClean says what a cleaning of runs, or of folders of runs, would delete:
// leftovers of saves and deletions that were killed, and what the options ask
// for. The newest usable checkpoint of every run and its best stay whole.
func PlanClean(ctx context.Context, roots []string, o *CleanOptions) (*Plan, error) {
	opts := CleanOptions{}
	if o != nil {
		opts = *o
	}
	if opts.MinAge == 0 {
		opts.MinAge = time.Hour
	}
	p := &Plan{again: func(ctx context.Context) (*Plan, error) { return PlanClean(ctx, roots, &opts) }}
	dirs, err := FindRuns(roots...)
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		r, err := Open(ctx, dir, nil)
		if err != nil {
			return nil, err
		}
		r.clean(p, &opts)
	}
	return p, nil
}

// FindRuns returns the runs in roots: each that has checkpoint-* directories or
// leftovers itself, or else those directly inside it. Symlinks of roots are
// followed, others are not.
func FindRuns(roots ...string) ([]string, error) {
	var runs []string
	add := func(dir string) {
		if !slices.Contains(runs, dir) {
			runs = append(runs, dir)
		}
	}
	for _, root := range roots {
		root, err := resolveRun(root)
		if err != nil {
			return nil, err
		}
		ok, err := isRun(root)
		if err != nil {
			return nil, err
		}
		if ok {
			add(root)
			continue
		}
		entries, err := os.ReadDir(root)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if dir := filepath.Join(root, e.Name()); e.IsDir() {
				if ok, err := isRun(dir); err == nil && ok {
					add(dir)
				}
			}
		}
	}
	return runs, nil
}

var runEntry = regexp.MustCompile(`^(checkpoint-\d+|tmp-checkpoint-.*|` + regexp.QuoteMeta(trashPrefix) + `.*)$`)

func isRun(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return runEntry.MatchString(e.Name()) }), err
}

func (r *Run) clean(p *Plan, o *CleanOptions) {
	now := time.Now()
	usable, best := r.LatestUsable(), r.Best()
	gone := make(map[string]bool)
	for _, l := range r.Leftovers {
		if now.Sub(l.ModTime) < o.MinAge {
			p.Keep = append(p.Keep, Kept{l.Path, "written less than " + o.MinAge.String() + " ago: its save may still run"})
			continue
		}
		gone[l.Path] = true
		inside := filepath.Dir(l.Path) != r.Dir
		p.Delete = append(p.Delete, Deletion{Path: l.Path, Bytes: l.Bytes, Why: l.Why, root: r.Dir, info: l.info, restore: inside})
	}
	old := o.OlderThan > 0 && now.Sub(r.written()) >= o.OlderThan
	for _, c := range r.Checkpoints {
		if gone[c.Path] {
			continue
		}
		stays := ""
		switch {
		case c.Symlink:
			stays = "a symbolic link"
		case usable == nil:
			stays = "no checkpoint is known to be usable: nothing is deleted"
		case c == usable:
			stays = "the newest that is whole and usable"
		case c == best:
			stays = "the best"
		}
		switch {
		case old && stays == "":
			p.Delete = append(p.Delete, Deletion{Path: c.Path, Bytes: c.Bytes, Why: "nothing was written to the run for " + o.OlderThan.String(), root: r.Dir, info: c.info})
		case o.Optimizer && !c.Symlink && usable != nil && c != usable:
			r.cleanState(p, c)
		default:
			if stays != "" {
				p.Keep = append(p.Keep, Kept{c.Path, stays})
			}
		}
	}
}

// cleanState deletes the training state where the weights lie beside it, whole.
// The directory's time of change is put back: the Trainer's rotation goes by it.
func (r *Run) cleanState(p *Plan, c *Checkpoint) {
	if !c.Usable() || c.Kind != checkpoint.KindFull && c.Kind != checkpoint.KindAdapter {
		p.Keep = append(p.Keep, Kept{c.Path, "its weights lie in the training state, or are not whole"})
		return
	}
	entries, err := os.ReadDir(c.Path)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !stateFile.MatchString(e.Name()) || e.Type()&fs.ModeSymlink != 0 {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue
		}
		path := filepath.Join(c.Path, e.Name())
		size, _ := treeSize(path, info)
		p.Delete = append(p.Delete, Deletion{Path: path, Bytes: size, Why: fmt.Sprintf("training state of step %d: its weights stay", c.Step), root: r.Dir, info: info, restore: true})
	}
}

// written is when the newest file of the run was written.
func (r *Run) written() (newest time.Time) {
	for _, c := range r.Checkpoints {
		newest = later(newest, later(c.written, c.ModTime))
	}
	for _, l := range r.Logs {
		newest = later(newest, l.ModTime)
	}
	for _, l := range r.Leftovers {
		newest = later(newest, l.ModTime)
	}
	return newest
}
