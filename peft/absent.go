package peft

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

const pickledFile = "adapter_model.bin"

var (
	stepDir      = regexp.MustCompile(`^checkpoint-\d+$`)
	fullModel    = regexp.MustCompile(`^(model[-.].*safetensors.*|pytorch_model.*\.bin)$`)
	pickledModel = regexp.MustCompile(`^pytorch_model([-.].*)?\.bin$`)
	shardedDir   = regexp.MustCompile(`^(global_step\d+|pytorch_model_fsdp_\d+)$`)
)

// Absent returns what a directory lacks to be that of an adapter: config or
// weights, or both. It says what the directory holds instead, and false if it has
// them.
func Absent(fsys fs.FS) (diag.Problem, bool) {
	config, weights, pickled := exists(fsys, ConfigFile), exists(fsys, WeightsFile), exists(fsys, pickledFile)
	switch {
	case config && weights:
		return diag.Problem{}, false
	case config && pickled:
		p := diag.New(diag.FormatNotChecked, "%s is a pickle, which is not checked, and there is no %s", pickledFile, WeightsFile)
		p.Severity = diag.Error // there is nothing else that could be called valid
		p.File, p.Want = pickledFile, WeightsFile
		p.Cause = "saved with safe_serialization=False, or by PEFT before 0.6"
		p.Fix = `convert it there: python -c "import torch, safetensors.torch as s; s.save_file(torch.load('` + pickledFile + `', map_location='cpu', weights_only=True), '` + WeightsFile + `', {'format': 'pt'})"`
		return p, true
	case config:
		p := diag.New(diag.WeightsMissing, "%s is here, but no %s", ConfigFile, WeightsFile)
		p.File, p.Want = WeightsFile, "the adapter's weights"
		p.Cause = "the save was killed, only the small files were copied, or the clone has no large files"
		p.Fix = "copy or download " + WeightsFile + "; after a git clone: git lfs pull"
		return p, true
	case weights, pickled:
		there := WeightsFile
		if !weights {
			there = pickledFile
		}
		p := diag.New(diag.AdapterConfigMissing, "%s is here without %s", there, ConfigFile)
		p.File, p.Want = ConfigFile, "the config that PEFT saves beside the weights"
		p.Cause, p.Fix = "only the weights were copied", "copy adapter_config.json from where the adapter was trained: rank, alpha and targets are in it"
		return p, true
	}
	p := diag.New(diag.AdapterAbsent, "no adapter here: neither %s nor %s", ConfigFile, WeightsFile)
	p.Want = ConfigFile + " and " + WeightsFile
	p.Cause, p.Fix = "the path names another directory, or the adapter is gone", "give the directory that holds "+p.Want
	names, below := look(fsys, ConfigFile)
	switch {
	case slices.ContainsFunc(names, fullModel.MatchString):
		p.Message, p.Got = "no adapter here: this is a full model", "a full model"
		p.Cause = "base and adapter were swapped, or the training was a full fine-tune, which needs no merging"
	case len(below) > 0:
		p.Message = "no adapter here: it is in a sub-directory"
		inside(&p, below)
	}
	return p, true
}

// noBase returns what a directory lacks to be that of a base.
func noBase(fsys fs.FS) diag.Problem {
	p := diag.New(diag.BaseAbsent, "the base is no model: neither weights in safetensors nor a config.json of a model type that is known")
	p.Want = "config.json and model.safetensors, or an index and its shards"
	p.Cause, p.Fix = "the path names another directory, or the model is there in part only", "give the directory of the whole model, or its name if it is in the Hugging Face cache"
	names, below := look(fsys, "config.json")
	switch {
	case exists(fsys, ConfigFile):
		p.Message, p.Got = "the base is an adapter, no model", "an adapter"
		p.Cause = "base and adapter were swapped, or the adapter was trained on top of another, which must be merged first"
		if text, err := readSmall(fsys, ConfigFile); err == nil {
			if c, err := ParseConfig(text); err == nil && c.BaseModelName != "" {
				p.Fix += "; this adapter names " + diag.Name(c.BaseModelName) + " as its own base"
			}
		}
	case slices.ContainsFunc(names, pickledModel.MatchString):
		p.Message, p.Got = "the base has pickled weights only, which are not read", "pytorch_model.bin"
		p.Cause = "saved by transformers before 5 with safe_serialization=False"
		p.Fix = "load it where it is trusted and save it again: model.save_pretrained(DIR) writes safetensors"
	case slices.ContainsFunc(names, shardedDir.MatchString):
		p.Message, p.Got = "the base has its weights in training shards", "DeepSpeed or FSDP shards"
		p.Cause = "it is a checkpoint of a training that was not consolidated"
		p.Fix = "merge the shards first: safeckpt merge-zero DIR OUT"
	case len(below) > 0:
		p.Message = "the base is no model: it is in a sub-directory"
		inside(&p, below)
	}
	return p
}

// inside says that what was looked for lies in sub-directories.
func inside(p *diag.Problem, dirs []string) {
	last := diag.Name(dirs[len(dirs)-1])
	p.Got = strings.Join(diag.Templates(dirs), ", ")
	p.Cause = "it was saved under a name of its own"
	p.Fix = "give that directory: " + last
	if stepDir.MatchString(last) {
		p.Cause = "this is the directory of a run"
		p.Fix = "give one of its checkpoints; the newest is " + last
	}
}

// look returns the names in a directory, and which of its sub-directories hold the
// file, in natural order.
func look(fsys fs.FS, file string) (names, below []string) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, nil
	}
	const most = 1000 // sub-directories
	for i, e := range entries {
		names = append(names, e.Name())
		if i < most && e.IsDir() && exists(fsys, path.Join(e.Name(), file)) {
			below = append(below, e.Name())
		}
	}
	slices.SortFunc(below, diag.CompareNames)
	return names, below
}

func exists(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return err == nil
}
