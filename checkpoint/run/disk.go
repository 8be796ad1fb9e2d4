package run

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/safeckpt/safeckpt/diag"
)

// A Forecast says whether the saves to come find room. A save is written before
// the rotation deletes.
type Forecast struct {
	Save int64 // bytes of one save, as the newest whole checkpoint takes them; 0 if there is none
	Fit  int   // saves that still fit; -1 if all do, or that cannot be said
	// FullIn is after how long the first save that does not fit is due, at the
	// pace of the saves so far; 0 if all fit or the pace is not known.
	FullIn time.Duration
}

// Forecast holds what the saves to come need against what is free.
func (r *Run) Forecast() Forecast {
	f := Forecast{Fit: -1}
	usable := r.LatestUsable()
	if usable == nil || usable.Bytes == 0 {
		return f
	}
	f.Save = usable.Bytes
	n := r.savesToCome()
	if r.Policy != nil && r.Policy.SaveTotalLimit > 0 {
		n = min(n, max(0, r.Policy.SaveTotalLimit-len(r.dirs))+1) // then each makes room for the next
	}
	if r.Free < 0 || r.Free/f.Save >= int64(n) {
		return f
	}
	f.Fit = int(r.Free / f.Save)
	if pace := r.SecondsPerSave(); pace > 0 {
		due := r.newest().written.Add(time.Duration(float64(f.Fit+1) * pace * float64(time.Second)))
		f.FullIn = max(time.Until(due), time.Second)
	}
	return f
}

// savesToCome returns how many saves the run still makes; one if that is not
// known.
func (r *Run) savesToCome() int {
	newest := r.newest()
	if newest == nil {
		return 0
	}
	step, last := newest.trainer.Step, newest.trainer.MaxSteps
	switch {
	case last > 0 && step >= last:
		return 0
	case r.Policy == nil:
		return 1
	case r.Policy.SaveStrategy == "no":
		return 0
	}
	every := r.Policy.every(last)
	if r.Policy.SaveStrategy == "epoch" && newest.Epoch > 0 {
		every = int(float64(step)/newest.Epoch + 0.5)
	}
	if last <= 0 || every <= 0 {
		return 1
	}
	return (last - step + every - 1) / every // the last one is forced
}

// warnDisk says that a save will find no room.
func (r *Run) warnDisk(p *Prediction) {
	f := p.Forecast
	if f.Fit < 0 {
		return
	}
	which := "the next save"
	if f.Fit > 0 {
		which = fmt.Sprintf("the save after %d more", f.Fit)
	}
	when := ""
	if f.FullIn > 0 {
		when = ", in about " + f.FullIn.Round(time.Minute).String() + " at the pace so far"
	}
	problem := diskFull(int64(f.Fit+1)*f.Save, r.Free, fmt.Sprintf("%s finds no room%s", which, when))
	problem.Fix = fmt.Sprintf("see what can go: safeckpt runs clean %[1]s; safeckpt runs rotate --limit 2 %[1]s; or train with a lower save_total_limit", filepath.Clean(r.Dir))
	p.Report.Add(problem)
}

func diskFull(want, free int64, what string) diag.Problem {
	wanted, left := diag.Size(uint64(want)), diag.Size(uint64(free))
	problem := diag.New(diag.DiskFull, "%s: %s wanted, %s free", what, wanted, left)
	problem.Want, problem.Got = wanted, left
	problem.Cause = "a save is written before the rotation deletes, and what is kept grows until save_total_limit is reached"
	return problem
}

// CheckFree returns the problem that the plan's peak does not fit in what is
// free, or nil. Free is -1 if that is not known.
func (e *Estimate) CheckFree(free int64) *diag.Problem {
	need := max(e.Peak, e.Checkpoint)
	if free < 0 || need <= free {
		return nil
	}
	problem := diskFull(need, free, "the plan does not fit on the disk")
	problem.Fix = "save less often or keep fewer (save_steps, save_total_limit), save weights only (save_only_model), or use a larger disk"
	return &problem
}
