package run

import (
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Rules says whose rotation is modelled.
type Rules uint8

// The rules.
const (
	RulesV5 Rules = iota // transformers 5: trainer_utils.py, rotate_checkpoints
	RulesV4              // transformers 4.57: trainer.py, _rotate_checkpoints
)

// A Dir is a directory of a run as the Trainer's rotation sees it: its name
// begins with "checkpoint-", whatever follows.
type Dir struct {
	Name    string
	ModTime time.Time
	Symlink bool // rmtree refuses symlinks: it survives, though it is counted as deleted
}

// A Rotation is one call of the Trainer's rotation, which follows every save.
type Rotation struct {
	OutputDir string // as the run was given it; "" means "."
	Limit     int    // save_total_limit; 0 or less keeps all
	Best      string // best_model_checkpoint as the run has it, "" if none
	Rules     Rules
}

// Deletes returns the names that the rotation deletes, in that order. Symlinks
// that it fails to delete are left out.
func (r Rotation) Deletes(dirs []Dir) []string {
	if r.Limit <= 0 {
		return nil
	}
	sorted := r.order(dirs)
	if len(sorted) <= r.Limit {
		return nil
	}
	if r.Rules == RulesV4 {
		return remove(r.oldestV4(sorted))
	}
	// The newest is kept to resume from; best_model_checkpoint is compared as a string.
	protected := map[string]bool{r.path(sorted[len(sorted)-1]): true}
	if r.Best != "" {
		protected[pyPath(r.Best)] = true
	}
	var gone []Dir
	for _, d := range sorted {
		if len(sorted)-len(gone) <= max(r.Limit, len(protected)) {
			break
		}
		if !protected[r.path(d)] {
			gone = append(gone, d)
		}
	}
	return remove(gone)
}

// oldestV4 moves the best to the second newest place and takes the oldest.
func (r Rotation) oldestV4(sorted []Dir) []Dir {
	limit := r.Limit
	if r.Best != "" {
		best := slices.IndexFunc(sorted, func(d Dir) bool { return r.path(d) == pyPath(r.Best) })
		for i := best; best >= 0 && i < len(sorted)-2; i++ {
			sorted[i], sorted[i+1] = sorted[i+1], sorted[i]
		}
		if limit == 1 && r.path(sorted[len(sorted)-1]) != r.Best {
			limit = 2
		}
	}
	return sorted[:max(0, len(sorted)-limit)]
}

// AtEnd returns what is deleted when training ends: with a limit of 1 all but the
// best, whether or not load_best_model_at_end is set. Follows trainer.py,
// _finalize_training.
func (r Rotation) AtEnd(dirs []Dir) []string {
	if r.Best == "" || r.Limit != 1 {
		return nil
	}
	best := filepath.Base(filepath.FromSlash(pyPath(r.Best)))
	return remove(slices.DeleteFunc(r.byStep(dirs), func(d Dir) bool { return d.Name == best }))
}

// remove returns the names of what shutil.rmtree deletes.
func remove(dirs []Dir) []string {
	var names []string
	for _, d := range dirs {
		if !d.Symlink {
			names = append(names, d.Name)
		}
	}
	return names
}

// order sorts as sort_checkpoints(use_mtime=True) does: by the directory's time
// of change, unless all are within a second.
func (r Rotation) order(dirs []Dir) []Dir {
	sorted := slices.Clone(dirs)
	slices.SortFunc(sorted, func(a, b Dir) int {
		if ta, tb := pyTime(a.ModTime), pyTime(b.ModTime); ta < tb {
			return -1
		} else if ta > tb {
			return 1
		}
		return strings.Compare(r.path(a), r.path(b))
	})
	if len(sorted) > 1 && pyTime(sorted[len(sorted)-1].ModTime)-pyTime(sorted[0].ModTime) < 1 {
		return r.byStep(dirs)
	}
	return sorted
}

// pathStep is applied to the whole path, as the Trainer does.
var pathStep = regexp.MustCompile(`^.*checkpoint-([0-9]+)`)

// byStep sorts by number and leaves out what has none.
func (r Rotation) byStep(dirs []Dir) []Dir {
	type numbered struct {
		Dir
		step int
	}
	var found []numbered
	for _, d := range dirs {
		if m := pathStep.FindStringSubmatch(r.path(d)); m != nil {
			if n, err := strconv.Atoi(m[1]); err == nil {
				found = append(found, numbered{d, n})
			}
		}
	}
	slices.SortFunc(found, func(a, b numbered) int {
		if a.step != b.step {
			return a.step - b.step
		}
		return strings.Compare(r.path(a.Dir), r.path(b.Dir))
	})
	sorted := make([]Dir, len(found))
	for i, f := range found {
		sorted[i] = f.Dir
	}
	return sorted
}

// path is what the Trainer compares.
func (r Rotation) path(d Dir) string {
	if r.OutputDir == "" {
		return d.Name
	}
	return pyPath(r.OutputDir + "/" + d.Name)
}

// pyTime is os.path.getmtime: a float of seconds.
func pyTime(t time.Time) float64 { return float64(t.Unix()) + 1e-9*float64(t.Nanosecond()) }

// pyPath is str(pathlib.PurePosixPath(p)): no ".", no empty part; ".." stays.
func pyPath(p string) string {
	p = filepath.ToSlash(p)
	root := ""
	if strings.HasPrefix(p, "/") {
		root = "/"
		if strings.HasPrefix(p, "//") && !strings.HasPrefix(p, "///") {
			root = "//"
		}
	}
	parts := slices.DeleteFunc(strings.Split(p, "/"), func(s string) bool { return s == "" || s == "." })
	if len(parts) == 0 && root == "" {
		return "."
	}
	return root + strings.Join(parts, "/")
}
