package main

import (
	"errors"
	"fmt"
	"time"

	runs "github.com/safeckpt/safeckpt/checkpoint/run"
	"github.com/safeckpt/safeckpt/diag"
)

type runsRotateCmd struct {
	JSON    bool   `name:"json" help:"Write one JSON object."`
	Limit   int    `required:"" help:"How many of the newest checkpoints stay." placeholder:"N"`
	Every   int    `help:"Keep each checkpoint whose step is a multiple of K besides." placeholder:"K"`
	Best    bool   `default:"true" negatable:"" help:"Keep the best besides."`
	Metric  string `help:"Tell the best by this metric of the log, such as eval_loss." placeholder:"NAME"`
	Greater bool   `help:"Of --metric the greater is better."`
	Apply   bool   `help:"Delete; without it nothing is."`
	Run     string `arg:"" help:"The output directory of a training run."`
}

// Help is shown by runs rotate --help.
func (*runsRotateCmd) Help() string {
	return `Examples:
  safeckpt runs rotate --limit 3 outputs/run            # shows what would go
  safeckpt runs rotate --limit 3 --every 1000 --apply outputs/run`
}

func (c *runsRotateCmd) run(e *env) (int, error) {
	p, err := runs.PlanRotation(e.ctx, c.Run, &runs.RotateOptions{Limit: c.Limit, Every: c.Every, Best: c.Best, Metric: c.Metric, Greater: c.Greater})
	if err != nil {
		return statusFailed, err
	}
	return carryOut(e, p, c.Apply, c.JSON)
}

type runsCleanCmd struct {
	JSON      bool          `name:"json" help:"Write one JSON object."`
	OlderThan time.Duration `help:"Delete the checkpoints of runs that nothing was written to for so long, but for the newest usable and the best." placeholder:"72h"`
	Optimizer bool          `help:"Delete the training state of all but the newest usable checkpoint; weights stay."`
	Apply     bool          `help:"Delete; without it nothing is."`
	Roots     []string      `arg:"" name:"root" help:"Runs, or folders of runs."`
}

// Help is shown by runs clean --help.
func (*runsCleanCmd) Help() string {
	return `Examples:
  safeckpt runs clean outputs                        # leftovers of killed saves
  safeckpt runs clean --older-than 720h --apply outputs
  safeckpt runs clean --optimizer --apply outputs/run`
}

func (c *runsCleanCmd) run(e *env) (int, error) {
	p, err := runs.PlanClean(e.ctx, c.Roots, &runs.CleanOptions{OlderThan: c.OlderThan, Optimizer: c.Optimizer})
	if err != nil {
		return statusFailed, err
	}
	return carryOut(e, p, c.Apply, c.JSON)
}

// carryOut shows a plan and, if it is to be applied, applies it.
func carryOut(e *env, p *runs.Plan, apply, asJSON bool) (int, error) {
	type deletion struct {
		Path  string `json:"path"`
		Bytes int64  `json:"bytes"`
		Why   string `json:"why"`
	}
	type kept struct {
		Path string `json:"path"`
		Why  string `json:"why"`
	}
	if !asJSON {
		for _, k := range p.Keep {
			fmt.Fprintf(e.stdout, "keep    %s: %s\n", diag.Name(k.Path), k.Why)
		}
		for _, d := range p.Delete {
			fmt.Fprintf(e.stdout, "delete  %s (%s): %s\n", diag.Name(d.Path), diag.Size(uint64(d.Bytes)), d.Why)
		}
	}
	gone := p.Delete
	var err error
	if apply {
		gone, err = p.Apply(e.ctx, nil)
	}
	freed := int64(0)
	for _, d := range gone {
		freed += d.Bytes
	}
	switch {
	case asJSON:
		deletions, keeps := []deletion{}, []kept{}
		for _, d := range gone {
			deletions = append(deletions, deletion{d.Path, d.Bytes, d.Why})
		}
		for _, k := range p.Keep {
			keeps = append(keeps, kept{k.Path, k.Why})
		}
		err = errors.Join(err, writeJSON(e.stdout, struct {
			Schema  int        `json:"schema"`
			Applied bool       `json:"applied"`
			Delete  []deletion `json:"delete"`
			Keep    []kept     `json:"keep"`
		}{1, apply && err == nil, deletions, keeps}))
	case apply:
		fmt.Fprintf(e.stdout, "%d deleted, %s freed\n", len(gone), diag.Size(uint64(freed)))
	case len(gone) == 0:
		fmt.Fprintln(e.stdout, "Nothing to delete.")
	default:
		fmt.Fprintf(e.stdout, "%d would be deleted, %s freed. Nothing was deleted: add --apply\n", len(gone), diag.Size(uint64(freed)))
	}
	if err != nil {
		return statusFailed, err
	}
	return statusOK, nil
}

type runsKeepCmd struct {
	Step     int    `help:"Step of the checkpoint; without it the latest that is usable." default:"-1" placeholder:"N"`
	Best     bool   `help:"The best checkpoint."`
	To       string `required:"" help:"Directory to copy to." placeholder:"DIR"`
	HardLink bool   `help:"Link files instead of copying them: a later save over the same step would change the copy."`
	Run      string `arg:"" help:"The output directory of a training run."`
}

// Help is shown by runs keep --help.
func (*runsKeepCmd) Help() string {
	return `Examples:
  safeckpt runs keep --best --to /archive outputs/run
  safeckpt runs keep --step 1000 --to /archive outputs/run`
}

func (c *runsKeepCmd) run(e *env) (int, error) {
	r, err := runs.Open(e.ctx, c.Run, nil)
	if err != nil {
		return statusFailed, err
	}
	ck := r.LatestUsable()
	switch {
	case c.Best && c.Step >= 0:
		return statusFailed, errors.New("want --step or --best, not both")
	case c.Best:
		if ck = r.Best(); ck == nil {
			return statusFailed, fmt.Errorf("%s: the best checkpoint is not known, or not here", c.Run)
		}
	case c.Step >= 0:
		if ck, err = r.At(c.Step); err != nil {
			return statusFailed, err
		}
	case ck == nil:
		return statusFailed, fmt.Errorf("%s: no checkpoint is whole", c.Run)
	}
	target, err := runs.Keep(e.ctx, ck.Path, c.To, &runs.KeepOptions{HardLink: c.HardLink})
	if err != nil {
		return statusFailed, err
	}
	fmt.Fprintf(e.stdout, "%s kept as %s (%s, verified; check again with: cd %s && sha256sum -c SHA256SUMS)\n", diag.Name(ck.Path), diag.Name(target), diag.Size(uint64(ck.Bytes)), diag.Name(target))
	return statusOK, nil
}
