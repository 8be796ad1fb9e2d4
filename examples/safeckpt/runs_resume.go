package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/safeckpt/safeckpt/checkpoint"
	runs "github.com/safeckpt/safeckpt/checkpoint/run"
	"github.com/safeckpt/safeckpt/diag"
)

type runsResumeCmd struct {
	JSON bool   `name:"json" help:"Write one JSON object."`
	Path string `arg:"" help:"A run, or a checkpoint."`
}

func (c *runsResumeCmd) run(e *env) (int, error) {
	a, err := runs.Advise(e.ctx, c.Path)
	if err != nil {
		return statusFailed, err
	}
	status := statusOK
	if a.Resumable != checkpoint.ResumeExact {
		status = statusProblem
	}
	if c.JSON {
		out := struct {
			Schema    int      `json:"schema"`
			Path      string   `json:"path"`
			Step      *int     `json:"step"`
			Resumable string   `json:"resumable"`
			Reasons   []string `json:"reasons"`
			Missing   []string `json:"missing"`
			WorldSize *int     `json:"world_size"`
			Argument  *string  `json:"argument"`
		}{1, a.Path, nil, string(a.Resumable), append([]string{}, a.Reasons...), append([]string{}, a.Missing...), nil, nil}
		if a.Step >= 0 {
			out.Step = &a.Step
		}
		if a.WorldSize > 0 {
			out.WorldSize = &a.WorldSize
		}
		if a.Argument != "" {
			out.Argument = &a.Argument
		}
		return status, writeJSON(e.stdout, out)
	}
	fmt.Fprintf(e.stdout, "%s: %s\n", diag.Name(a.Path), resumeWords[a.Resumable])
	for _, reason := range a.Reasons {
		fmt.Fprintf(e.stdout, "  %s\n", reason)
	}
	if a.Argument != "" {
		fmt.Fprintf(e.stdout, "Resume with\n  %s\n", a.Argument)
		if a.WorldSize > 1 {
			fmt.Fprintf(e.stdout, "on %s, as it was written\n", diag.Count(a.WorldSize, "process"))
		}
	}
	if a.Python != "" {
		fmt.Fprintf(e.stdout, "Load for inference with\n  %s\n", strings.ReplaceAll(strings.TrimSpace(a.Python), "\n", "\n  "))
	}
	return status, nil
}

type runsEstimateCmd struct {
	JSON        bool     `name:"json" help:"Write one JSON object."`
	Optimizer   string   `default:"adamw" help:"As TrainingArguments.optim: adamw, adamw_8bit, adafactor, lion, sgd."`
	Engine      string   `default:"none" enum:"none,zero1,zero2,zero3,fsdp" help:"none, zero1, zero2, zero3 or fsdp."`
	Dtype       string   `help:"Of the parameters: f32, bf16 or f16; without it that of config.json."`
	NoGather    bool     `help:"ZeRO-3 without stage3_gather_16bit_weights_on_model_save."`
	MaxSteps    int      `placeholder:"N"`
	SaveSteps   int      `placeholder:"N"`
	Limit       int      `help:"save_total_limit." placeholder:"N"`
	OnlyModel   bool     `help:"save_only_model."`
	LoraRank    int      `placeholder:"R"`
	LoraTargets []string `help:"Ends of module names, or all-linear; without it the linear modules of the language model."`
	Path        string   `arg:"" name:"config" help:"A config.json, a directory with one, or a checkpoint."`
}

// Help is shown by runs estimate --help.
func (*runsEstimateCmd) Help() string {
	return `Examples:
  safeckpt runs estimate --engine zero2 --max-steps 10000 --save-steps 500 --limit 3 config.json
  safeckpt runs estimate --lora-rank 64 Qwen2.5-VL-7B-Instruct/config.json`
}

func (c *runsEstimateCmd) run(e *env) (int, error) {
	o := &runs.EstimateOptions{Optimizer: c.Optimizer, Engine: c.Engine, DType: c.Dtype, NoGather: c.NoGather, OnlyModel: c.OnlyModel,
		MaxSteps: c.MaxSteps, SaveSteps: c.SaveSteps, Limit: c.Limit, LoRARank: c.LoraRank, LoRATargets: c.LoraTargets}
	x, err := c.estimate(e, o)
	if err != nil {
		return statusFailed, err
	}
	free, err := runs.FreeBytes(filepath.Dir(c.Path))
	if err != nil {
		free = -1
	}
	if r, err := runs.Open(e.ctx, filepath.Dir(filepath.Clean(c.Path)), nil); err == nil {
		o.SecondsPerSave = r.SecondsPerSave()
	}
	full, problem := x.FullIn(free, o), x.CheckFree(free)
	if c.JSON {
		out := struct {
			Schema     int    `json:"schema"`
			Parameters uint64 `json:"parameters"`
			Trainable  uint64 `json:"trainable"`
			Checkpoint int64  `json:"checkpoint_bytes"`
			Kept       *int   `json:"kept"`
			Total      *int64 `json:"total_bytes"`
			Peak       *int64 `json:"peak_bytes"`
			Free       *int64 `json:"free_bytes"`
			Full       *int64 `json:"full_in_seconds"`

			Problems []diag.Problem `json:"problems"`
		}{Schema: 1, Parameters: x.Parameters, Trainable: x.Trainable, Checkpoint: x.Checkpoint, Problems: []diag.Problem{}}
		if problem != nil {
			out.Problems = append(out.Problems, *problem)
		}
		if x.Kept > 0 {
			out.Kept, out.Total, out.Peak = &x.Kept, &x.Total, &x.Peak
		}
		if free >= 0 {
			out.Free = &free
		}
		if s := int64(full); full >= 0 {
			out.Full = &s
		}
		return statusOK, writeJSON(e.stdout, out)
	}
	fmt.Fprintf(e.stdout, "%s parameters, %s trainable\n", thousands(x.Parameters), thousands(x.Trainable))
	fmt.Fprintf(e.stdout, "one checkpoint: %s (weights %s, training state %s)\n", size(x.Checkpoint), size(x.Weights), size(x.State))
	if x.Kept > 0 {
		fmt.Fprintf(e.stdout, "%d kept: %s, at the peak %s\n", x.Kept, size(x.Total), size(x.Peak))
	} else {
		fmt.Fprintln(e.stdout, "give --max-steps and --save-steps, or --limit, for the total")
	}
	if free >= 0 {
		fmt.Fprintf(e.stdout, "free here: %s\n", size(free))
	}
	if full >= 0 {
		fmt.Fprintf(e.stdout, "at the pace so far a save fails in about %s\n", time.Duration(full*1e9).Round(time.Minute))
	}
	if problem != nil {
		report := &diag.Report{}
		report.Add(*problem)
		return statusOK, report.WriteText(e.stdout, &diag.TextOptions{Color: e.color})
	}
	return statusOK, nil
}

func size(n int64) string { return diag.Size(uint64(n)) }

// estimate goes by what a checkpoint takes unless flags say something else.
func (c *runsEstimateCmd) estimate(e *env, o *runs.EstimateOptions) (*runs.Estimate, error) {
	path := c.Path
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		_, stateErr := os.Stat(filepath.Join(path, "trainer_state.json"))
		if stateErr == nil && c.Engine == "none" && c.Optimizer == "adamw" && c.Dtype == "" && c.LoraRank == 0 {
			return runs.EstimateCheckpoint(e.ctx, path, o)
		}
		path = filepath.Join(path, "config.json")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return runs.EstimateConfig(text, o)
}

type runsSaveCmd struct {
	Match   string        `help:"Part of the training's command line, such as train_grpo.py." placeholder:"TEXT"`
	PID     []int         `name:"pid" help:"The training processes." placeholder:"N"`
	Timeout time.Duration `default:"10m" help:"How long the save may take."`
	Run     string        `arg:"" help:"The output directory of the training."`
}

// Help is shown by runs save --help.
func (*runsSaveCmd) Help() string {
	return `The Trainer does not catch SIGUSR1 by itself, which would END it: without a handler in
the training script nothing is sent. Examples:
  safeckpt runs save outputs/run
  safeckpt runs save --match train_grpo.py outputs/run`
}

func (c *runsSaveCmd) run(e *env) (int, error) {
	ck, err := runs.Save(e.ctx, c.Run, &runs.SaveOptions{Match: c.Match, PIDs: c.PID, Timeout: c.Timeout, Signalled: func(pids []int) {
		fmt.Fprintf(e.stderr, "SIGUSR1 sent to %v, waiting for the checkpoint\n", pids)
	}})
	if err != nil {
		return statusFailed, err
	}
	fmt.Fprintf(e.stdout, "%s is whole: step %d, %s\n", diag.Name(ck.Path), ck.Step, diag.Size(uint64(ck.Bytes)))
	return statusOK, nil
}
