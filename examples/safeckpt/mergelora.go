package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/peft"
	"github.com/safeckpt/safeckpt/safetensors"
)

type mergeLoRACmd struct {
	Base         string `required:"" help:"The base model: a directory, or a name in the local Hugging Face cache." placeholder:"DIR"`
	Adapter      string `required:"" help:"The directory with adapter_config.json and adapter_model.safetensors." placeholder:"DIR"`
	Safe         bool   `help:"Round as PEFT does with safe_merge=True."`
	MaxShardSize string `help:"Split into files of at most this size, such as 5GB. Default: as the base is split." placeholder:"SIZE"`
	Force        bool   `help:"Overwrite OUT."`
	Out          string `arg:"" name:"out" help:"A directory that from_pretrained will load."`
}

// Help is shown by merge-lora --help.
func (*mergeLoRACmd) Help() string {
	return `The weights are those that PEFT's merge_and_unload gives on a CPU, bit for bit.

Examples:
  safeckpt merge-lora --base Qwen/Qwen2.5-VL-7B-Instruct --adapter outputs/run/checkpoint-500 merged
  safeckpt merge-lora --base ./base --adapter ./adapter --max-shard-size 5GB merged`
}

// nothingWritten tells why.
func nothingWritten(e *env, what string, err error) (int, error) {
	var r *peft.RefusedError
	if !errors.As(err, &r) {
		return statusFailed, err
	}
	fmt.Fprintf(e.stderr, "%s, nothing was written\n", diag.Name(what))
	return statusProblem, r.Report.WriteText(e.stderr, problemText(e))
}

func problemText(e *env) *diag.TextOptions { return &diag.TextOptions{Color: e.color, Indent: "  "} }

func (c *mergeLoRACmd) run(e *env) (int, error) {
	o := &peft.MergeOptions{Safe: c.Safe, Force: c.Force}
	if c.MaxShardSize != "" {
		size, err := safetensors.ParseSize(c.MaxShardSize)
		if err != nil || size == 0 {
			return statusFailed, fmt.Errorf("--max-shard-size: %q is no size such as 5GB", c.MaxShardSize)
		}
		o.MaxShardSize = size
	}
	base, err := checkpoint.FindModel(c.Base)
	if err != nil {
		return statusFailed, err
	}
	if _, err := os.Stat(c.Adapter); err != nil {
		return statusFailed, err
	}
	var done func()
	o.Progress, done = newProgress(e.stderr, "merging")
	stats, err := peft.Merge(e.ctx, base, c.Adapter, c.Out, o)
	done()
	if err != nil {
		return nothingWritten(e, c.Adapter+": not merged", err)
	}
	if err := stats.Report.WriteText(e.stderr, problemText(e)); err != nil {
		return statusFailed, err
	}
	fmt.Fprintf(e.stdout, "%s: %d of %s merged, %s in %s, %v\n", diag.Name(c.Out),
		stats.Changed, diag.Count(stats.Tensors, "tensor"), diag.Size(uint64(stats.Bytes)), diag.Count(len(stats.Files), "file"), stats.Elapsed.Round(time.Millisecond))
	return statusOK, nil
}
