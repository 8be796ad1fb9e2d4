package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/peft"
)

type renameAdapterCmd struct {
	Base    string `required:"" help:"The model that the adapter is for: a directory, or a name in the Hugging Face cache. Only its config.json is needed." placeholder:"DIR"`
	Adapter string `arg:"" name:"adapter" help:"The directory of the adapter."`
	Out     string `arg:"" name:"out" help:"A directory for the copy."`
}

// Help is shown by rename-adapter --help.
func (*renameAdapterCmd) Help() string {
	return `PEFT passes over tensors whose names it does not expect, after one warning or none. This mends a prefix
that is missing or doubled, the adapter's own name in the names of tensors, and modules that transformers has moved.

Examples:
  safeckpt rename-adapter --base Qwen/Qwen2.5-VL-7B-Instruct old-adapter adapter
  safeckpt rename-adapter --base ./base outputs/run/checkpoint-500 adapter`
}

func (c *renameAdapterCmd) run(e *env) (int, error) {
	dir, err := checkpoint.FindModel(c.Base)
	if err != nil {
		return statusFailed, err
	}
	base, err := peft.OpenBase(os.DirFS(dir), nil)
	if err != nil {
		return nothingWritten(e, c.Base+": not a base", err)
	}
	if _, err := os.Stat(c.Adapter); err != nil {
		return statusFailed, err
	}
	stats, err := peft.RenameAdapter(e.ctx, base, c.Adapter, c.Out, nil)
	if err != nil {
		return nothingWritten(e, c.Adapter+": not renamed", err)
	}
	if err := stats.Report.WriteText(e.stderr, problemText(e)); err != nil {
		return statusFailed, err
	}
	fmt.Fprintf(e.stdout, "%s: %d of %s renamed%s\n", diag.Name(c.Out), stats.Renamed, diag.Count(stats.Tensors, "tensor"), describeRename(stats))
	if stats.Report.Count(diag.Error) > 0 {
		return statusProblem, nil
	}
	return statusOK, nil
}

func describeRename(s *peft.RenameStats) string {
	var rules []string
	for _, r := range s.Rules {
		rules = append(rules, r.String())
	}
	text := ""
	if len(rules) > 0 {
		text = " (" + strings.Join(rules, ", ") + ")"
	}
	if len(s.Fields) > 0 {
		text += "; changed in " + peft.ConfigFile + ": " + strings.Join(s.Fields, ", ")
	}
	return text
}
