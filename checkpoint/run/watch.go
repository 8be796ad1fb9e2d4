package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/diag"
)

// WatchOptions configures a Watcher. Nil means defaults.
type WatchOptions struct {
	// Quiet is how long nothing must have been written to a checkpoint before it is
	// verified; 0 means 10 seconds.
	Quiet time.Duration
}

// An Event is something that a Watcher saw.
type Event struct {
	Run        string
	Checkpoint string             // path, if the event is of one
	Result     *checkpoint.Result // of a checkpoint that was verified
	Gone       bool               // the checkpoint was deleted
	Problem    *diag.Problem      // a warning about the run that is new
	Err        error              // the run or the checkpoint could not be looked at
}

// A Status is how a run stands.
type Status struct {
	Run        *Run
	Prediction *Prediction
	Usage      Usage
}

// A Watcher follows runs by looking again and again, so that network file systems
// work, which announce nothing. It is not safe for concurrent use.
type Watcher struct {
	o        WatchOptions
	roots    []string
	verified map[string]time.Time // by path: its newest file when it was verified
	warned   map[string]bool
}

// NewWatcher follows the runs in roots, as FindRuns finds them: new ones too.
func NewWatcher(roots []string, o *WatchOptions) *Watcher {
	w := &Watcher{roots: roots, verified: make(map[string]time.Time), warned: make(map[string]bool)}
	if o != nil {
		w.o = *o
	}
	if w.o.Quiet == 0 {
		w.o.Quiet = 10 * time.Second
	}
	return w
}

// Look looks once: it verifies what has been finished since the last time and
// returns how every run stands. The error is about the roots, or ctx's.
func (w *Watcher) Look(ctx context.Context) ([]Event, []Status, error) {
	dirs, err := FindRuns(w.roots...)
	if err != nil {
		return nil, nil, err
	}
	var events []Event
	var all []Status
	there, warned := make(map[string]bool), make(map[string]bool)
	for _, dir := range dirs {
		r, err := Open(ctx, dir, nil)
		if err != nil {
			if ctx.Err() != nil {
				return events, all, ctx.Err()
			}
			events = append(events, Event{Run: dir, Err: err})
			continue
		}
		for _, c := range r.Checkpoints {
			there[c.Path] = true
			if e := w.verify(ctx, c); e != nil {
				e.Run = dir
				events = append(events, *e)
			}
		}
		s := Status{Run: r, Prediction: r.PredictSave()}
		for _, p := range s.Prediction.Report.Problems() {
			key := dir + "\x00" + string(p.Code) + p.File // a message has sizes that change
			if warned[key] = true; !w.warned[key] {
				events = append(events, Event{Run: dir, Problem: &p})
			}
		}
		if usage, err := MeasureUsage(ctx, dir); err == nil {
			s.Usage = usage[0]
		} else if !errors.Is(err, fs.ErrNotExist) {
			events = append(events, Event{Run: dir, Err: err})
		}
		all = append(all, s)
	}
	if err := ctx.Err(); err != nil {
		return events, all, err
	}
	w.warned = warned
	for path := range w.verified {
		if !there[path] {
			delete(w.verified, path)
			events = append(events, Event{Checkpoint: path, Gone: true})
		}
	}
	return events, all, nil
}

// verify validates a checkpoint that is new or was written again, once it has
// been quiet and its trainer_state.json, the last file of a save, can be read.
func (w *Watcher) verify(ctx context.Context, c *Checkpoint) *Event {
	if at, ok := w.verified[c.Path]; ok && at.Equal(c.written) || time.Since(c.written) < w.o.Quiet || c.trainer == nil {
		return nil
	}
	e := &Event{Checkpoint: c.Path}
	results, err := checkpoint.ValidateAll(ctx, c.Path, nil)
	if err != nil {
		e.Err = err
		return e
	}
	w.verified[c.Path] = c.written
	e.Result = results[0]
	return e
}

// WriteOpenMetrics writes how runs stand for Prometheus, in the OpenMetrics 1.0
// text format.
func WriteOpenMetrics(w io.Writer, all []Status) error {
	var b strings.Builder
	family := func(name, help string, value func(s Status) (float64, bool)) {
		fmt.Fprintf(&b, "# TYPE %s gauge\n# HELP %s %s\n", name, name, help)
		for _, s := range all {
			if v, ok := value(s); ok {
				fmt.Fprintf(&b, "%s{run=\"%s\"} %v\n", name, label(s.Run.Dir), v)
			}
		}
	}
	step := func(c *Checkpoint) (float64, bool) {
		if c == nil {
			return 0, false
		}
		return float64(c.Step), true
	}
	family("safeckpt_checkpoints", "Checkpoints in the run.", func(s Status) (float64, bool) { return float64(len(s.Run.Checkpoints)), true })
	family("safeckpt_checkpoints_usable", "Checkpoints that are whole and usable.", func(s Status) (float64, bool) {
		n := 0
		for _, c := range s.Run.Checkpoints {
			if c.Usable() {
				n++
			}
		}
		return float64(n), true
	})
	family("safeckpt_latest_step", "Step of the latest checkpoint.", func(s Status) (float64, bool) { return step(s.Run.Latest()) })
	family("safeckpt_latest_usable_step", "Step of the latest checkpoint that is usable.", func(s Status) (float64, bool) { return step(s.Run.LatestUsable()) })
	family("safeckpt_latest_usable_timestamp_seconds", "When the latest usable checkpoint was written.", func(s Status) (float64, bool) {
		c := s.Run.LatestUsable()
		if c == nil {
			return 0, false
		}
		return float64(c.written.UnixMilli()) / 1000, true
	})
	family("safeckpt_allocated_bytes", "Bytes that the run takes of the disk.", func(s Status) (float64, bool) { return float64(s.Usage.Allocated), true })
	family("safeckpt_free_bytes", "Bytes free where the run lies.", func(s Status) (float64, bool) { return float64(s.Usage.Free), s.Usage.Free >= 0 })
	family("safeckpt_next_save_bytes", "Bytes that the next save takes, as the newest whole checkpoint does.", func(s Status) (float64, bool) {
		return float64(s.Prediction.Forecast.Save), s.Prediction.Forecast.Save > 0
	})
	family("safeckpt_full_in_seconds", "Seconds until a save finds no room, at the pace so far; absent if all fit.", func(s Status) (float64, bool) {
		return s.Prediction.Forecast.FullIn.Seconds(), s.Prediction.Forecast.FullIn > 0
	})
	family("safeckpt_next_deleted", "Directories that the next save deletes.", func(s Status) (float64, bool) { return float64(len(s.Prediction.Deleted)), s.Prediction.Known })
	family("safeckpt_warnings", "Warnings and errors about the run.", func(s Status) (float64, bool) {
		return float64(s.Prediction.Report.Count(diag.Warning) + s.Prediction.Report.Count(diag.Error)), true
	})
	b.WriteString("# EOF\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func label(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(s, "\uFFFD"))
}
