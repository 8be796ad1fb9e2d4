package main

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	runs "github.com/safeckpt/safeckpt/checkpoint/run"
	"github.com/safeckpt/safeckpt/diag"
)

// runsCmd groups what looks after training runs.
type runsCmd struct {
	List     runsListCmd     `cmd:"" help:"List the checkpoints of a run, and what the next save deletes."`
	Rotate   runsRotateCmd   `cmd:"" help:"Delete old checkpoints; a dry run without --apply."`
	Keep     runsKeepCmd     `cmd:"" help:"Make a permanent, verified copy of a checkpoint."`
	Clean    runsCleanCmd    `cmd:"" help:"Delete leftovers, old experiments or optimizer state; a dry run without --apply."`
	Usage    runsUsageCmd    `cmd:"" help:"Show disk use and free space."`
	Estimate runsEstimateCmd `cmd:"" help:"Plan the disk: bytes per checkpoint, in all, at the peak."`
	Resume   runsResumeCmd   `cmd:"" help:"Say whether training can be resumed, how exactly, and with which argument."`
	Save     runsSaveCmd     `cmd:"" help:"Ask a running training for a checkpoint (SIGUSR1), safely, and wait for it."`
}

// policyFlags say how a run saves where training_args.bin does not.
type policyFlags struct {
	Limit    *int   `help:"save_total_limit of the run, instead of what training_args.bin says." placeholder:"N"`
	Script   string `help:"Launch script (run_8gpu.sh) to read the run's arguments from." placeholder:"FILE"`
	SaveStep int    `name:"save-steps" help:"save_steps of the run." placeholder:"N"`
}

func (f *policyFlags) open(e *env, dir string) (*runs.Run, error) {
	o := &runs.Options{}
	if f.Script != "" {
		p, err := runs.ReadLaunchScript(f.Script)
		if err != nil {
			return nil, err
		}
		o.Policy = p
	}
	r, err := runs.Open(e.ctx, dir, o)
	if err != nil {
		return nil, err
	}
	if f.Limit == nil && f.SaveStep == 0 {
		return r, nil
	}
	p := runs.Policy{}
	if r.Policy != nil {
		p = *r.Policy
	} else {
		p.SaveStrategy, p.SaveSteps = "steps", 500
	}
	p.Source = "flags"
	if f.Limit != nil {
		p.SaveTotalLimit = *f.Limit
	}
	if f.SaveStep > 0 {
		p.SaveSteps, p.SaveStrategy = float64(f.SaveStep), "steps"
	}
	return runs.Open(e.ctx, dir, &runs.Options{Policy: &p})
}

type runsListCmd struct {
	JSON bool `name:"json" help:"Write one JSON object."`
	policyFlags
	Run string `arg:"" help:"The output directory of a training run."`
}

// Help is shown by runs list --help.
func (*runsListCmd) Help() string {
	return `Examples:
  safeckpt runs list outputs/run
  safeckpt runs list --script run_8gpu.sh outputs/run
  safeckpt runs list --json outputs/run | jq -r .latest_usable`
}

type listedCheckpoint struct {
	Path      string   `json:"path"`
	Step      int      `json:"step"`
	Epoch     *float64 `json:"epoch"`
	Loss      *float64 `json:"loss"`
	Kind      string   `json:"kind"`
	State     string   `json:"state"`
	Bytes     int64    `json:"bytes"`
	Complete  bool     `json:"complete"`
	Resumable *string  `json:"resumable"`
	Best      bool     `json:"best"`
	Metric    *float64 `json:"metric"`
	Protected bool     `json:"protected"`
}

func (c *runsListCmd) run(e *env) (int, error) {
	r, err := c.open(e, c.Run)
	if err != nil {
		return statusFailed, err
	}
	if len(r.Checkpoints) == 0 {
		return statusFailed, fmt.Errorf("%s: %w", c.Run, runs.ErrNoRun)
	}
	p := r.PredictSave()
	protected := make(map[string]bool)
	for _, name := range p.Protected {
		protected[name] = true
	}
	status := statusOK
	if p.Report.Count(diag.Error) > 0 {
		status = statusProblem
	}
	if c.JSON {
		return status, c.writeJSON(e, r, p, protected)
	}
	fmt.Fprintf(e.stdout, "%s: %s\n", diag.Name(r.Dir), diag.Count(len(r.Checkpoints), "checkpoint"))
	fmt.Fprintf(e.stdout, "  %8s %7s %9s %9s %-8s %-8s %10s  %-9s %s\n", "step", "epoch", "loss", "metric", "kind", "state", "size", "whole", "resume")
	for _, ck := range r.Checkpoints {
		whole := map[bool]string{true: "yes", false: "NO"}[ck.Complete]
		var marks []string
		if ck.Best {
			marks = append(marks, "best")
		}
		if protected[ck.Name] {
			marks = append(marks, "protected")
		}
		if ck == r.LatestUsable() {
			marks = append(marks, "latest usable")
		}
		if ck.Symlink {
			marks = append(marks, "symlink")
		}
		resume := string(ck.Resumable)
		if ck.Err != nil {
			resume = ck.Err.Error()
		}
		fmt.Fprintf(e.stdout, "  %8d %7s %9s %9s %-8s %-8s %10s  %-9s %-12s %s\n", ck.Step, number(ck.Epoch), number(ck.Loss), number(ck.Metric),
			ck.Kind, ck.State, diag.Size(uint64(ck.Bytes)), whole, resume, strings.Join(marks, ", "))
	}
	for _, l := range r.Leftovers {
		fmt.Fprintf(e.stdout, "  leftover: %s (%s): %s\n", diag.Name(l.Path), diag.Size(uint64(l.Bytes)), l.Why)
	}
	for _, l := range r.Logs {
		fmt.Fprintf(e.stdout, "  log: %s (%s), last written %s ago\n", diag.Name(l.Path), diag.Size(uint64(l.Bytes)), time.Since(l.ModTime).Round(time.Second))
	}
	writePrediction(e, r, p)
	return status, p.Report.WriteText(e.stdout, &diag.TextOptions{Color: e.color, Indent: "  "})
}

// writePrediction says in a line or two what the Trainer deletes next.
func writePrediction(e *env, r *runs.Run, p *runs.Prediction) {
	switch {
	case !p.Known:
		fmt.Fprintln(e.stdout, "How the run saves is not known: give --limit and --save-steps, or --script")
		return
	case p.Next < 0:
		fmt.Fprint(e.stdout, "No further save is expected")
	case len(p.Deleted) == 0:
		fmt.Fprintf(e.stdout, "Next save (step %d) deletes nothing", p.Next)
	default:
		fmt.Fprintf(e.stdout, "Next save (step %d) deletes %s", p.Next, strings.Join(p.Deleted, ", "))
	}
	limit := "no limit"
	if r.Policy.SaveTotalLimit > 0 {
		limit = fmt.Sprintf("save_total_limit %d", r.Policy.SaveTotalLimit)
	}
	fmt.Fprintf(e.stdout, " (%s; from %s)\n", limit, diag.Name(r.Policy.Source))
}

func (c *runsListCmd) writeJSON(e *env, r *runs.Run, p *runs.Prediction, protected map[string]bool) error {
	out := struct {
		Schema       int                `json:"schema"`
		Path         string             `json:"path"`
		Best         *string            `json:"best"`
		Latest       *string            `json:"latest"`
		LatestUsable *string            `json:"latest_usable"`
		Checkpoints  []listedCheckpoint `json:"checkpoints"`
		NextDeleted  []string           `json:"next_deleted"`
		NextStep     *int               `json:"next_step"`
		Problems     []diag.Problem     `json:"problems"`
	}{1, r.Dir, pathOf(r.Best()), pathOf(r.Latest()), pathOf(r.LatestUsable()), nil, []string{}, nil, p.Report.Problems()}
	if out.Problems == nil {
		out.Problems = []diag.Problem{}
	}
	if p.Next >= 0 {
		out.NextStep = &p.Next
	}
	for _, name := range p.Deleted {
		out.NextDeleted = append(out.NextDeleted, r.Dir+"/"+name)
	}
	for _, ck := range r.Checkpoints {
		l := listedCheckpoint{ck.Path, ck.Step, orNull(ck.Epoch), orNull(ck.Loss), string(ck.Kind), string(ck.State), ck.Bytes, ck.Complete, nil, ck.Best, orNull(ck.Metric), protected[ck.Name]}
		if s := string(ck.Resumable); s != "" {
			l.Resumable = &s
		}
		out.Checkpoints = append(out.Checkpoints, l)
	}
	return writeJSON(e.stdout, out)
}

func pathOf(c *runs.Checkpoint) *string {
	if c == nil {
		return nil
	}
	return &c.Path
}

func orNull(f float64) *float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}

func number(f float64) string {
	if math.IsNaN(f) {
		return "-"
	}
	return fmt.Sprintf("%.4g", f)
}

type runsUsageCmd struct {
	JSON  bool     `name:"json" help:"Write one JSON object."`
	Roots []string `arg:"" name:"root" help:"Directories."`
}

func (c *runsUsageCmd) run(e *env) (int, error) {
	all, err := runs.MeasureUsage(e.ctx, c.Roots...)
	if err != nil {
		return statusFailed, err
	}
	type root struct {
		Path      string `json:"path"`
		Apparent  int64  `json:"apparent_bytes"`
		Allocated int64  `json:"allocated_bytes"`
		Files     int    `json:"files"`
		Free      *int64 `json:"free_bytes"`
	}
	var roots []root
	for _, u := range all {
		r := root{u.Path, u.Apparent, u.Allocated, u.Files, nil}
		if u.Free >= 0 {
			r.Free = &u.Free
		}
		roots = append(roots, r)
		if u.Skipped > 0 {
			err = errors.Join(err, fmt.Errorf("%s: %s could not be read", u.Path, diag.Count(u.Skipped, "entry")))
		}
		if !c.JSON {
			free := "free space not known"
			if u.Free >= 0 {
				free = diag.Size(uint64(u.Free)) + " free"
			}
			fmt.Fprintf(e.stdout, "%10s on disk %10s in %s  %s, %s\n", diag.Size(uint64(u.Allocated)), diag.Size(uint64(u.Apparent)), diag.Count(u.Files, "file"), diag.Name(u.Path), free)
		}
	}
	if c.JSON {
		err = errors.Join(err, writeJSON(e.stdout, struct {
			Schema int    `json:"schema"`
			Roots  []root `json:"roots"`
		}{1, roots}))
	}
	if err != nil {
		return statusFailed, err
	}
	return statusOK, nil
}
