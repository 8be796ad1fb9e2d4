package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/safeckpt/safeckpt/checkpoint/zero"
	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

type mergeZeroCmd struct {
	DType         string `name:"dtype" enum:"f32,bf16,f16" default:"f32" help:"What floating tensors are written as: f32, bf16 or f16."`
	MaxShardSize  string `help:"Split into files of at most this size, such as 5GB." placeholder:"SIZE"`
	Tag           string `help:"The tag directory to take, such as global_step500. Default: what the file latest says."`
	ExcludeFrozen bool   `help:"Leave out parameters that were not trained."`
	Ties          string `enum:"copy,drop" default:"copy" help:"Names that share the weight of another: copy it, or drop the name."`
	CheckCRC      bool   `name:"check-crc" help:"First hold the shards against the checksums in them."`
	Verify        bool   `help:"First hold the weights, rounded, against the working copy: in the model file, or in stage 3 the safetensors that the Trainer gathered."`
	Force         bool   `help:"Overwrite OUT."`
	Src           string `arg:"" name:"src" help:"The directory that DeepSpeed or the Trainer wrote."`
	Out           string `arg:"" name:"out" help:"A file that ends in .safetensors, or a directory that from_pretrained will load."`
}

// Help is shown by merge-zero --help.
func (*mergeZeroCmd) Help() string {
	return `Examples:
  safeckpt merge-zero outputs/run/checkpoint-500 merged
  safeckpt merge-zero --dtype bf16 --max-shard-size 5GB outputs/run merged
  safeckpt merge-zero --tag global_step500 run weights.safetensors`
}

var mergeTypes = map[string]safetensors.DType{"f32": safetensors.F32, "bf16": safetensors.BF16, "f16": safetensors.F16}

func (c *mergeZeroCmd) run(e *env) (int, error) {
	o := &zero.MergeOptions{
		DType:         mergeTypes[c.DType],
		ExcludeFrozen: c.ExcludeFrozen,
		Ties:          zero.Ties(c.Ties),
		CheckCRC:      c.CheckCRC,
		Verify:        c.Verify,
		Force:         c.Force,
	}
	if c.MaxShardSize != "" {
		size, err := safetensors.ParseSize(c.MaxShardSize)
		if err != nil || size == 0 {
			return statusFailed, fmt.Errorf("--max-shard-size: %q is no size such as 5GB", c.MaxShardSize)
		}
		o.MaxShardSize = size
	}
	if f, ok := e.stderr.(*os.File); ok && isTerminal(f) {
		var bar *progressbar.ProgressBar
		o.Progress = func(done, total int64) {
			if bar == nil {
				bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(f), progressbar.OptionShowBytes(true),
					progressbar.OptionShowTotalBytes(true), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish(), progressbar.OptionSetDescription("merging"))
			}
			_ = bar.Set64(done) // only the terminal can fail
		}
	}
	s, err := zero.Open(e.ctx, c.Src, &zero.Options{Tag: c.Tag})
	var stats *zero.MergeStats
	if err == nil {
		stats, err = s.Merge(e.ctx, c.Out, o)
	}
	var refused *zero.Error
	if errors.As(err, &refused) {
		fmt.Fprintf(e.stderr, "%s: not merged, nothing was written\n", diag.Name(c.Src))
		return statusProblem, refused.Report.WriteText(e.stderr, &diag.TextOptions{Color: e.color, Indent: "  "})
	}
	if err != nil {
		return statusFailed, err
	}
	stats.Report.Merge("", s.Report())
	if err := stats.Report.WriteText(e.stderr, &diag.TextOptions{Color: e.color, Indent: "  "}); err != nil {
		return statusFailed, err
	}
	what := fmt.Sprintf("ZeRO-%d, %s", s.Stage, diag.Count(s.Ranks, "rank"))
	switch {
	case s.Universal:
		what = "universal checkpoint"
	case s.FSDP:
		what = "FSDP, " + diag.Count(s.Ranks, "rank")
	}
	if stats.Verified > 0 {
		const most = 3
		with := diag.Name(strings.Join(stats.VerifiedWith[:min(len(stats.VerifiedWith), most)], ", "))
		if more := len(stats.VerifiedWith) - most; more > 0 {
			with += fmt.Sprintf(" and %d more", more)
		}
		fmt.Fprintf(e.stdout, "%d trained parameters, rounded, are those of the working copy in %s\n", stats.Verified, with)
	}
	fmt.Fprintf(e.stdout, "%s (%s, %s): %s, %s in %s, %v\n", diag.Name(c.Out), what, diag.Name(s.Tag),
		diag.Count(stats.Tensors, "tensor"), diag.Size(uint64(stats.Bytes)), diag.Count(len(stats.Files), "file"), stats.Elapsed.Round(time.Millisecond))
	return statusOK, nil
}
