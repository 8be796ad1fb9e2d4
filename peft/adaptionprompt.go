package peft

import (
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// adaptionPrompt follows peft 0.21.2 tuners/adaption_prompt: a prompt and a gate
// for the attention of the topmost layers.
var adaptionPrompt = method{
	prefix:  "adaption_",
	idle:    []string{"adaption_gate"},
	takes:   []kind{other},
	options: map[string]int{"adapter_len": 0, "adapter_layers": 0},
	targets: topmost,
	wants: func(l *layer) []want {
		return []want{{key: "adaption_prompt", shape: []dim{fixed(1), size(l.option("adapter_len"), "adapter_len"), l.input()}}, {key: "adaption_gate", shape: []dim{fixed(1)}}}
	},
}

// topmost finds the modules that have the name target_modules, and of these the
// last adapter_layers.
func topmost(k *check) {
	name := k.c.Targets.Regex
	var paths []string
	for path := range k.view.parents {
		if strings.HasSuffix(path, "."+name) {
			paths = append(paths, path)
		}
	}
	if k.base == nil {
		paths = k.fileModules()
	}
	slices.SortFunc(paths, diag.CompareNames)
	want := k.c.options["adapter_layers"]
	if len(paths) < want {
		p := diag.New(diag.AdapterModuleMissing, "adapter_layers is %d, but the base has %s %s", want, diag.Count(len(paths), "module"), diag.Name(name))
		p.File = ConfigFile
		p.Want, p.Got = show(want), show(len(paths))
		p.Cause = "the base has fewer layers than the one of the training, or the file is cut down; PEFT refuses such a base"
		p.Fix = "use the base that the adapter was trained on, or save the adapter again"
		k.res.Report.Add(p)
	}
	width := k.view.embeddingWidth()
	for _, path := range paths[max(len(paths)-want, 0):] {
		k.module(module{path: path, kind: other, in: width}, path, name)
	}
}
