package peft

import (
	"fmt"
	"math"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// An Adapter is what Check looks at: the parsed adapter_config.json and the
// tensors of adapter_model.safetensors. Only names, dtypes and shapes are used.
type Adapter struct {
	Config  *Config
	Tensors []safetensors.TensorInfo
}

// A Result is what Check found. It is not changed afterwards.
type Result struct {
	// Report holds the problems, those of the config included.
	Report diag.Report
	// Expected says whether the tensors were held against the config. It is false
	// for PEFT types whose tensors are not known here.
	Expected bool
	// Based says whether they were held against a base as well.
	Based bool
	// Modules are the modules that the config targets, in the order of the base, or
	// sorted by name where there is none.
	Modules []ModuleResult
	// Targets are the entries of target_modules and target_parameters, in the
	// order of the config.
	Targets []TargetResult
	// Complete counts the modules that have all their tensors in the right shape.
	Complete int
	// Unexplained counts the tensors that neither config nor base account for.
	Unexplained int
	// Renames are the changes of names after which the adapter fits the base.
	Renames []Rename
	// Names maps the tensors whose name in the file is not the one that PEFT looks
	// for to that name; nil if there are none.
	Names map[string]string
}

// A ModuleResult is one targeted module.
type ModuleResult struct {
	Path     string  // in memory, without base_model.model.
	Target   string  // the entry of the config that selects it
	Rank     int     // see Config.Rank
	Alpha    float64 // see Config.Alpha
	Scaling  float64 // what B*A is multiplied with; NaN for other types than LoRA
	Tensors  int     // how many of its tensors are in the file
	Complete bool
}

// A TargetResult says what an entry of the config selects.
type TargetResult struct {
	Entry   string
	Modules int // in the base, or in the file where there is no base
}

// A Rename says that From at the start of a module's name must become To.
type Rename struct {
	From, To string
	Modules  int // how many modules it brings into the base
}

func (r Rename) String() string { return fmt.Sprintf("%s -> %s", quoteEmpty(r.From), quoteEmpty(r.To)) }

func quoteEmpty(s string) string {
	if s == "" {
		return `""`
	}
	return diag.Name(s)
}

// Summary returns the verdict in one line.
func (r *Result) Summary() string {
	if !r.Expected {
		return "tensors NOT held against the config"
	}
	s := fmt.Sprintf("%d of %d targeted modules have their tensors, %s unexplained", r.Complete, len(r.Modules), diag.Count(r.Unexplained, "tensor"))
	if !r.Based {
		s += " (not held against a base)"
	}
	return s
}

// scaling follows peft 0.21.2 tuners/lora/layer.py, update_layer.
func (c *Config) scaling(rank int, alpha float64) float64 {
	switch {
	case c.Type != "LORA" || rank <= 0:
		return math.NaN()
	case c.RSLoRA:
		return alpha / math.Sqrt(float64(rank))
	}
	return alpha / float64(rank)
}
