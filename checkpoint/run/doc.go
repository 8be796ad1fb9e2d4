// Package run looks after a training run: the checkpoint-N directories that it
// leaves, which of them are whole and which can be resumed, what the Trainer's
// rotation will delete next, and what may be deleted or must be kept.
//
//	r, err := run.Open(ctx, "outputs/run", nil)
//	next := r.PredictSave()                       // what the Trainer will delete
//	plan, err := run.PlanRotation(ctx, dir, &run.RotateOptions{Limit: 3})
//	applied, err := plan.Apply(ctx, nil)          // ErrPlanStale if something changed
//
// # Safety
//
// What deletes is shown first and checked again under a lock. A directory that is
// to go is renamed out of the pattern checkpoint-* before the first file in it is
// removed, so that a process killed at any point leaves nothing that looks whole.
// The last checkpoint that is whole and usable is never deleted, no symlink is
// followed, and nothing outside the run or beyond a mount point is touched.
//
// A Run is a snapshot: it holds no open files and does not change. Any number of
// goroutines may use it.
//
// What the Trainer does follows transformers 5.23.0 and, where it differs, 4.57.
package run
