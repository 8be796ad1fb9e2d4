package run

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// RotateOptions says what a rotation keeps.
type RotateOptions struct {
	// Limit is how many of the newest checkpoints (by step) stay, at least 1.
	Limit int
	// Every keeps, besides, each checkpoint whose step is a multiple of it; 0: none.
	Every int
	// Best keeps the best checkpoint besides.
	Best bool
	// Metric tells the best by a metric in the log, such as "eval_loss"; "" goes by
	// best_model_checkpoint and, where there is none, by metric_for_best_model.
	Metric string
	// Greater says that of Metric the greater is better.
	Greater bool
}

// PlanRotation says what our own rotation of a run would delete. The newest
// Limit checkpoints count whether they are whole or not (one may still be
// written), and the newest that is whole and usable always stays. What a killed
// deletion has left is deleted as well.
func PlanRotation(ctx context.Context, dir string, o *RotateOptions) (*Plan, error) {
	if o == nil || o.Limit < 1 {
		return nil, errors.New("a rotation keeps at least 1 checkpoint: want a limit of 1 or more")
	}
	root, err := resolveRun(dir)
	if err != nil {
		return nil, err
	}
	r, err := Open(ctx, root, nil)
	if err != nil {
		return nil, err
	}
	opts := *o
	p := &Plan{again: func(ctx context.Context) (*Plan, error) { return PlanRotation(ctx, dir, &opts) }}
	for _, l := range r.Leftovers {
		if strings.HasPrefix(filepath.Base(l.Path), trashPrefix) {
			p.Delete = append(p.Delete, Deletion{Path: l.Path, Bytes: l.Bytes, Why: l.Why, root: root, info: l.info})
		}
	}
	best, usable := r.bestBy(o), r.LatestUsable()
	for i, c := range r.Checkpoints {
		why := ""
		switch {
		case c.Symlink:
			why = "a symbolic link: neither it nor what it leads to is deleted"
		case c == usable:
			why = "the newest that is whole and usable"
		case i >= len(r.Checkpoints)-o.Limit:
			why = fmt.Sprintf("one of the newest %d", o.Limit)
		case c == best:
			why = "the best"
		case o.Every > 0 && c.Step%o.Every == 0:
			why = fmt.Sprintf("every %d steps", o.Every)
		case usable == nil:
			why = "no checkpoint is known to be usable: nothing is deleted"
		}
		if why != "" {
			p.Keep = append(p.Keep, Kept{c.Path, why})
			continue
		}
		p.Delete = append(p.Delete, Deletion{Path: c.Path, Bytes: c.Bytes, Why: fmt.Sprintf("older than the newest %d", o.Limit), root: root, info: c.info})
	}
	return p, nil
}

// resolveRun follows symlinks of the path that was given, once and for all.
func resolveRun(dir string) (string, error) {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(root)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", dir)
	}
	return root, err
}

// bestBy returns the best checkpoint, nil if there is none or it is not wanted.
func (r *Run) bestBy(o *RotateOptions) *Checkpoint {
	if !o.Best {
		return nil
	}
	metric, greater := o.Metric, o.Greater
	if metric == "" {
		if best := r.Best(); best != nil {
			return best
		}
		if r.Policy == nil || r.Policy.Metric == "" {
			return nil
		}
		metric, greater = r.Policy.Metric, r.Policy.GreaterIsBetter
	}
	var best *Checkpoint
	value := math.NaN()
	for _, c := range r.Checkpoints {
		v, ok := r.log.metric(metric, c.Step)
		if ok && !math.IsNaN(v) && c.Usable() && (best == nil || greater && v > value || !greater && v < value) {
			best, value = c, v
		}
	}
	return best
}
