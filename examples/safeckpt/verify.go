package main

import (
	"embed"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strings"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/diag"
)

type verifyCmd struct {
	JSON          bool     `name:"json" help:"Write one JSON object."`
	Quiet         bool     `short:"q" help:"Write one line per target."`
	Strict        bool     `help:"Count warnings as errors."`
	Values        bool     `help:"Read all tensors: look for NaN and infinities, compare tied copies."`
	RequireConfig bool     `help:"Make it an error when the tensors cannot be held against a config."`
	Base          string   `help:"Base model of an adapter: a directory, or a name in the local Hugging Face cache." placeholder:"DIR"`
	Paths         []string `arg:"" optional:"" name:"path" help:"A safetensors file, a checkpoint directory, a run with checkpoint-N directories, or a folder of runs. None: the embedded sample."`
}

// Help is shown by verify --help.
func (*verifyCmd) Help() string {
	return `Examples:
  safeckpt verify outputs/run/checkpoint-100
  safeckpt verify --base Qwen/Qwen2.5-VL-7B-Instruct outputs/run/checkpoint-100
  safeckpt verify --json --strict outputs/run | jq .valid`
}

func (c *verifyCmd) run(e *env) (int, error) {
	o := &checkpoint.ValidateOptions{Values: c.Values, RequireConfig: c.RequireConfig, Base: c.Base, Strict: c.Strict}
	var results []*checkpoint.Result
	unchecked := 0 // paths that could not be looked at; the others still are
	if len(c.Paths) == 0 {
		sample, err := c.demonstrate(e, o)
		if err != nil {
			return statusFailed, err
		}
		results = sample
	}
	for i, path := range c.Paths {
		var done func()
		o.Progress, done = newProgress(e.stderr, path)
		found, err := checkpoint.ValidateAll(e.ctx, path, o)
		done()
		if err != nil {
			if e.ctx.Err() != nil {
				return statusFailed, err
			}
			fmt.Fprintf(e.stderr, "safeckpt: %s: %v\n", diag.Name(path), err)
			unchecked++
			continue
		}
		if !c.JSON {
			for j, r := range found {
				c.print(e, r, i > 0 || j > 0)
			}
		}
		results = append(results, found...)
	}
	status, valid := statusOK, 0
	for _, r := range results {
		if r.Valid() {
			valid++
		} else {
			status = statusProblem
		}
	}
	if unchecked > 0 {
		status = statusFailed
	}
	if c.JSON {
		return status, writeJSON(e.stdout, struct {
			Schema  int                  `json:"schema"`
			Valid   bool                 `json:"valid"`
			Targets []*checkpoint.Result `json:"targets"`
		}{1, status == statusOK, results})
	}
	switch {
	case c.Quiet:
	case unchecked > 0:
		fmt.Fprintf(e.stdout, "\n%d of %d targets are valid, %d could not be checked.\n", valid, len(results)+unchecked, unchecked)
	case len(results) > 1:
		fmt.Fprintf(e.stdout, "\n%d of %d targets are valid. %s\n", valid, len(results), finish(results, valid))
	}
	return status, nil
}

// finish words the last line of several targets, and claims no more than the
// least that was checked.
func finish(results []*checkpoint.Result, valid int) string {
	if valid < len(results) {
		return "NOT valid: " + fmt.Sprint(len(results)-valid)
	}
	for _, r := range results {
		if r.Unfinished() {
			return "Some saves are INCOMPLETE."
		}
		if !r.Expected && r.Kind != checkpoint.KindRun {
			return "Some were NOT held against a config."
		}
	}
	return "Checkpoint valid!"
}

//go:embed sample/full sample/lora sample/damaged
var sample embed.FS

// demonstrate verifies the embedded sample: first a damaged copy, which has no
// part in the status, then a full model and a LoRA adapter.
func (c *verifyCmd) demonstrate(e *env, o *checkpoint.ValidateOptions) ([]*checkpoint.Result, error) {
	var results []*checkpoint.Result
	for _, s := range []struct{ dir, title string }{
		{"sample/damaged/checkpoint-20", "Demonstration: this is what a DAMAGED checkpoint looks like (a save that ran out of disk)."},
		{"sample/full/checkpoint-20", "The sample: a full fine-tune of a tiny Qwen2.5-VL, written by the Trainer."},
		{"sample/lora/checkpoint-20", "The sample: a LoRA adapter for it."},
	} {
		r, err := validateSample(e, s.dir, o)
		if err != nil {
			return nil, err
		}
		damaged := s.dir == "sample/damaged/checkpoint-20"
		if !damaged {
			results = append(results, r)
		}
		if !c.JSON && !(c.Quiet && damaged) {
			if !c.Quiet {
				fmt.Fprintf(e.stdout, "%s\n", s.title)
			}
			c.print(e, r, false)
			if !c.Quiet {
				fmt.Fprintln(e.stdout)
			}
		}
	}
	if !c.JSON && !c.Quiet {
		fmt.Fprintln(e.stdout, "Now yours: safeckpt verify PATH")
	}
	return results, nil
}

func validateSample(e *env, dir string, o *checkpoint.ValidateOptions) (*checkpoint.Result, error) {
	sub, err := fs.Sub(sample, dir)
	if err != nil {
		return nil, err
	}
	c, err := checkpoint.OpenFS(e.ctx, sub, &checkpoint.Options{Name: dir})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Validate(e.ctx, o)
}

// print writes one target for people.
func (c *verifyCmd) print(e *env, r *checkpoint.Result, apart bool) {
	if c.Quiet {
		line := r.Verdict()
		if !r.Valid() {
			line += ": " + firstLine(r.Report.Summary())
		}
		fmt.Fprintf(e.stdout, "%s: %s\n", diag.Name(r.Path), line)
		return
	}
	if apart {
		fmt.Fprintln(e.stdout)
	}
	writeTarget(e.stdout, r)
	// An error of writing shows when all is flushed.
	_ = r.Report.WriteText(e.stdout, &diag.TextOptions{Color: e.color, Indent: "  "})
	fmt.Fprintln(e.stdout, r.Verdict())
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// writeTarget writes what the target is, in up to three lines.
func writeTarget(w io.Writer, r *checkpoint.Result) {
	what := []string{kindWords[r.Kind]}
	switch {
	case r.Adapter != "":
		what = append(what, r.Adapter)
	case r.Architecture != "":
		what = append(what, r.Architecture)
	case r.ModelType != "":
		what = append(what, "model_type "+diag.Name(r.ModelType))
	}
	fmt.Fprintf(w, "%s: %s\n", diag.Name(r.Path), strings.Join(what, ", "))
	if r.Tensors > 0 {
		fmt.Fprintf(w, "  %s, %s parameters, %s\n", diag.Count(r.Tensors, "tensor"), thousands(r.Parameters), diag.Size(r.Bytes))
	}
	var state []string
	if r.Step >= 0 {
		state = append(state, fmt.Sprintf("step %d", r.Step))
	}
	if !math.IsNaN(r.Epoch) {
		state = append(state, fmt.Sprintf("epoch %.4g", r.Epoch))
	}
	if r.State != checkpoint.StateNone {
		state = append(state, "state of "+stateWords[r.State])
	}
	if r.Resumable != "" && r.State != checkpoint.StateNone {
		state = append(state, resumeWords[r.Resumable])
	}
	if len(state) > 0 {
		fmt.Fprintf(w, "  %s\n", strings.Join(state, ", "))
	}
}

var kindWords = map[checkpoint.Kind]string{
	checkpoint.KindFull:    "full model",
	checkpoint.KindAdapter: "adapter",
	checkpoint.KindZeRO:    "DeepSpeed ZeRO shards",
	checkpoint.KindFSDP:    "FSDP shards",
	checkpoint.KindRun:     "run",
	checkpoint.KindFile:    "file",
	checkpoint.KindUnknown: "no checkpoint that is known",
}

var stateWords = map[checkpoint.State]string{
	checkpoint.StateTrainer: "the Trainer",
	checkpoint.StateZeRO1:   "DeepSpeed ZeRO-1",
	checkpoint.StateZeRO2:   "DeepSpeed ZeRO-2",
	checkpoint.StateZeRO3:   "DeepSpeed ZeRO-3",
	checkpoint.StateFSDP:    "FSDP",
}

var resumeWords = map[checkpoint.Resumable]string{
	checkpoint.ResumeExact:       "can be resumed exactly",
	checkpoint.ResumeWeightsOnly: "can be resumed from its weights only",
	checkpoint.ResumeNo:          "cannot be resumed",
}

// thousands writes 8292166656 as 8,292,166,656.
func thousands(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
