package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	runs "github.com/safeckpt/safeckpt/checkpoint/run"
	"github.com/safeckpt/safeckpt/diag"
)

type watchCmd struct {
	Interval time.Duration `default:"60s" help:"How often to look."`
	Quiet    time.Duration `default:"10s" help:"How long nothing must be written before a checkpoint is verified."`
	Once     bool          `help:"Look once and print OpenMetrics text, for a node exporter's textfile collector."`
	Dirs     []string      `arg:"" name:"dir" help:"Runs, or folders of runs."`
}

// Help is shown by watch --help.
func (*watchCmd) Help() string {
	return `Examples:
  safeckpt watch outputs
  safeckpt watch --once outputs > /var/lib/node_exporter/safeckpt.prom`
}

func (c *watchCmd) run(e *env) (int, error) {
	if c.Interval <= 0 {
		return statusFailed, errors.New("want an --interval of more than 0")
	}
	w := runs.NewWatcher(c.Dirs, &runs.WatchOptions{Quiet: c.Quiet})
	status := statusOK
	for {
		events, all, err := w.Look(e.ctx)
		if errors.Is(err, context.Canceled) {
			return status, nil // stopped: Ctrl-C is how it ends
		}
		if err != nil {
			return statusFailed, err
		}
		for _, ev := range events {
			if ev.Result != nil && !ev.Result.Valid() {
				status = statusProblem
			}
			if !c.Once {
				writeEvent(e, &ev)
			}
		}
		if c.Once {
			return status, runs.WriteOpenMetrics(e.stdout, all)
		}
		for _, s := range all {
			if len(events) > 0 {
				fmt.Fprintf(e.stdout, "%s %s: %s, %s on disk, %s free. ", time.Now().Format(time.TimeOnly), diag.Name(s.Run.Dir), diag.Count(len(s.Run.Checkpoints), "checkpoint"), size(s.Usage.Allocated), size(max(0, s.Usage.Free)))
				if f := s.Prediction.Forecast; f.FullIn > 0 {
					fmt.Fprintf(e.stdout, "A save finds no room in about %s. ", f.FullIn.Round(time.Minute))
				}
				writePrediction(e, s.Run, s.Prediction)
			}
		}
		select {
		case <-e.ctx.Done():
			return status, nil
		case <-time.After(c.Interval):
		}
	}
}

func writeEvent(e *env, ev *runs.Event) {
	now := time.Now().Format(time.TimeOnly)
	switch {
	case ev.Err != nil:
		fmt.Fprintf(e.stderr, "%s %s: %v\n", now, diag.Name(ev.Run), ev.Err)
	case ev.Gone:
		fmt.Fprintf(e.stdout, "%s %s was deleted\n", now, diag.Name(ev.Checkpoint))
	case ev.Problem != nil:
		fmt.Fprintf(e.stdout, "%s %s: %s: %s\n", now, diag.Name(ev.Run), ev.Problem.Severity, ev.Problem.Message)
		if ev.Problem.Fix != "" {
			fmt.Fprintf(e.stdout, "         fix: %s\n", ev.Problem.Fix)
		}
	case ev.Result != nil:
		fmt.Fprintf(e.stdout, "%s %s: %s\n", now, diag.Name(ev.Checkpoint), ev.Result.Verdict())
		if !ev.Result.Valid() {
			_ = ev.Result.Report.WriteText(e.stdout, &diag.TextOptions{Color: e.color, Indent: "  "})
		}
	}
}
