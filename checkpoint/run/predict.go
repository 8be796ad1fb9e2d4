package run

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/safeckpt/safeckpt/diag"
)

// A Prediction says what the Trainer does next.
type Prediction struct {
	// Known is false if nothing says how the run saves.
	Known bool
	// Next is the step of the next save; -1 if that cannot be said.
	Next int
	// Deleted names the directories that go with the next save, if the best
	// checkpoint stays the one that it is.
	Deleted []string
	// Protected names those that no rotation touches now: the newest and the best.
	Protected []string
	// DeletedAtEnd names those that go when training ends.
	DeletedAtEnd []string
	// Forecast says whether the saves to come find room.
	Forecast Forecast
	// Report warns of what will surprise.
	Report *diag.Report
}

// rotation is the Trainer's own, with the paths as the run has them.
func (r *Run) rotation() Rotation {
	return Rotation{OutputDir: r.outputDir(), Limit: r.Policy.SaveTotalLimit, Best: r.BestPath, Rules: r.Policy.Rules}
}

// outputDir returns the output directory as the run spells it. Where the policy
// names another directory (a search over hyperparameters nests run-<id>, or the
// run was moved), the spelling of the best checkpoint is taken.
func (r *Run) outputDir() string {
	if out := r.Policy.OutputDir; out != "" && (r.BestPath == "" || filepath.Base(pyPath(out)) == r.base()) {
		return out
	}
	if r.BestPath != "" {
		return filepath.ToSlash(filepath.Dir(filepath.FromSlash(r.BestPath)))
	}
	return r.Dir
}

func (r *Run) base() string {
	abs, err := filepath.Abs(r.Dir)
	if err != nil {
		return filepath.Base(r.Dir)
	}
	return filepath.Base(abs)
}

// PredictSave says what the next save deletes and warns of the traps of the
// Trainer's rotation, before they close.
func (r *Run) PredictSave() *Prediction {
	p := &Prediction{Next: -1, Forecast: r.Forecast(), Report: &diag.Report{}}
	r.warn(p)
	r.warnDisk(p)
	if r.Policy == nil {
		return p
	}
	p.Known = true
	p.Next = r.nextStep()
	rotation := r.rotation()
	if p.Next >= 0 {
		next := Dir{Name: fmt.Sprintf("checkpoint-%d", p.Next), ModTime: r.afterAll()}
		dirs := slices.DeleteFunc(slices.Clone(r.dirs), func(d Dir) bool { return d.Name == next.Name })
		p.Deleted = rotation.Deletes(append(dirs, next))
	}
	p.DeletedAtEnd = rotation.AtEnd(r.dirs)
	if rotation.Limit > 0 {
		if sorted := rotation.order(r.dirs); len(sorted) > 0 {
			p.Protected = append(p.Protected, sorted[len(sorted)-1].Name)
		}
	}
	for _, d := range r.dirs {
		if rotation.Best != "" && rotation.path(d) == pyPath(rotation.Best) && !slices.Contains(p.Protected, d.Name) {
			p.Protected = append(p.Protected, d.Name)
		}
	}
	r.warnDeleted(p, rotation)
	return p
}

// afterAll is when the next save will be: now, or later than all there is.
func (r *Run) afterAll() time.Time {
	now := time.Now()
	for _, d := range r.dirs {
		if !d.ModTime.Before(now) {
			now = d.ModTime.Add(time.Millisecond)
		}
	}
	return now
}

// nextStep returns the step of the next save, -1 if there is none or it follows
// from what is not known here (the epoch's length, the next evaluation).
func (r *Run) nextStep() int {
	newest := r.newest()
	if newest == nil {
		return -1
	}
	step, last := newest.trainer.Step, newest.trainer.MaxSteps
	if last > 0 && step >= last {
		return -1
	}
	switch every := r.Policy.every(last); {
	case r.Policy.SaveStrategy == "no":
		return -1
	case r.Policy.SaveStrategy == "steps" && every > 0:
		next := (step/every + 1) * every
		if last > 0 {
			next = min(next, last)
		}
		return next
	case newest.Epoch > 0 && r.Policy.SaveStrategy == "epoch":
		perEpoch := float64(step) / newest.Epoch
		return int(perEpoch*(float64(int(newest.Epoch+1e-6))+1) + 0.5)
	}
	return step + 1 // whenever it comes: the rotation is the same
}

// every returns save_steps as a number of steps.
func (p *Policy) every(maxSteps int) int {
	if p.SaveSteps > 0 && p.SaveSteps < 1 {
		ratio := p.SaveSteps * float64(maxSteps) // rounded up, as the Trainer does
		n := int(ratio)
		if float64(n) < ratio {
			n++
		}
		return n
	}
	return int(p.SaveSteps)
}

// warn adds what can be said without a policy.
func (r *Run) warn(p *Prediction) {
	for _, name := range r.Others {
		problem := diag.New(diag.RotationCounts, "%s is not a checkpoint of a step, but the Trainer's rotation counts and deletes it", diag.Name(name))
		problem.File, problem.Want, problem.Got = name, "checkpoint-N only", name
		problem.Cause = "save_total_limit applies to every directory that is named checkpoint-*"
		problem.Fix = fmt.Sprintf("mv %s %s", filepath.Join(r.Dir, name), filepath.Join(r.Dir, "kept-"+strings.TrimPrefix(name, "checkpoint-")))
		if r.Policy != nil && r.Policy.SaveTotalLimit <= 0 {
			problem.Severity = diag.Note
		}
		p.Report.Add(problem)
	}
	newest, latest := r.newest(), r.Latest()
	if newest != nil && latest != newest && latest.Step > newest.Step && latest.trainer != nil {
		problem := diag.New(diag.RunOlder, "%s is older than %s, though its step is higher: it is of an earlier run", latest.Name, newest.Name)
		problem.File, problem.Want, problem.Got = latest.Name, newest.Name, latest.Name
		problem.Cause = "a new run was started in the output directory of an old one"
		problem.Fix = "resume with --resume_from_checkpoint " + newest.Path + ", and move the old run's checkpoints elsewhere"
		p.Report.Add(problem)
	}
	usable := r.LatestUsable()
	switch {
	case latest == nil:
	case usable == nil:
		problem := diag.New(diag.NothingUsable, "no checkpoint here is whole: training cannot be resumed and no weights can be loaded")
		problem.Cause = "the saves were killed, or the disk was full"
		problem.Fix = "see what is wrong with each: safeckpt verify " + r.Dir
		p.Report.Add(problem)
	case usable != latest:
		problem := diag.New(diag.LatestNotUsable, "%s is not whole; the last one that is, is %s", latest.Name, usable.Name)
		problem.File, problem.Want, problem.Got = latest.Name, "a whole checkpoint", "an incomplete one"
		problem.Cause = "the process was killed while it saved, or it still saves"
		problem.Fix = "resume with --resume_from_checkpoint " + usable.Path + ": without a path the Trainer takes " + latest.Name
		p.Report.Add(problem)
	}
}

// warnDeleted says what is lost with the next save.
func (r *Run) warnDeleted(p *Prediction, rotation Rotation) {
	best, usable, newest := r.Best(), r.LatestUsable(), r.newest()
	counts := rotation.Limit > 0 && len(rotation.order(r.dirs)) > 1
	if best != nil && rotation.Limit > 0 && pyPath(r.BestPath) != rotation.path(Dir{Name: best.Name}) {
		problem := diag.New(diag.BestUnprotected, "the best checkpoint, %s, is not protected: the run calls it %s, the rotation %s", best.Name, diag.Name(r.BestPath), diag.Name(rotation.path(Dir{Name: best.Name})))
		problem.File, problem.Want, problem.Got = best.Name, rotation.path(Dir{Name: best.Name}), r.BestPath
		problem.Cause = "the Trainer compares the two paths as text"
		problem.Fix = fmt.Sprintf("safeckpt runs keep --best --to DIR %s", r.Dir)
		p.Report.Add(problem)
	}
	for _, name := range p.Deleted {
		switch {
		case best != nil && name == best.Name:
			problem := diag.New(diag.NextDeletesBest, "the next save deletes the best checkpoint, %s", name)
			problem.File = name
			problem.Cause = "the rotation does not protect it: see the other warnings"
			problem.Fix = fmt.Sprintf("safeckpt runs keep --best --to DIR %s", r.Dir)
			p.Report.Add(problem)
		case usable != nil && name == usable.Name:
			problem := diag.New(diag.NextDeletesUsable, "the next save deletes the last whole checkpoint, %s: until it is finished there is none", name)
			problem.File = name
			problem.Cause = "newer checkpoints are not whole, and the rotation does not look"
			problem.Fix = fmt.Sprintf("safeckpt runs keep --step %d --to DIR %s", usable.Step, r.Dir)
			p.Report.Add(problem)
		}
	}
	for _, c := range r.Checkpoints {
		// The directory changed long after the save: somebody wrote into it.
		if counts && !c.saved.IsZero() && c.ModTime.Sub(c.saved) > time.Minute && c != newest {
			problem := diag.New(diag.TouchedLater, "%s was changed after it was saved: the rotation takes it for newer than it is and deletes others first", c.Name)
			problem.File = c.Name
			problem.Cause = "a file was written or deleted in the directory, which moves its time of change"
			problem.Fix = fmt.Sprintf("touch -r %s %s", filepath.Join(c.Path, "trainer_state.json"), c.Path)
			p.Report.Add(problem)
		}
	}
	if len(p.DeletedAtEnd) > 0 {
		problem := diag.New(diag.EndDeletes, "when training ends only the best checkpoint stays: %s would be deleted now", strings.Join(p.DeletedAtEnd, ", "))
		problem.Cause = "save_total_limit is 1 and there is a best checkpoint: the final one does not stay"
		problem.Fix = "set save_total_limit to 2 to keep the final checkpoint as well"
		p.Report.Add(problem)
	}
}
