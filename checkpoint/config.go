package checkpoint

import (
	"errors"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/safetensors"
)

// checkConfig holds the full model's tensors against config.json.
func checkConfig(v *validation) error {
	c := v.c
	config, err := c.config()
	if v.notAFile(configFile, err) {
		return nil
	}
	if err != nil {
		p := diag.New(diag.ConfigInvalid, "config.json is not usable: %v", err)
		p.File, p.Want, p.Got = configFile, "the JSON object that save_pretrained writes", err.Error()
		p.Cause = "the file was cut, edited by hand, or is a Git LFS pointer or an error page"
		p.Fix = "copy or download config.json again"
		v.add(p)
		return nil
	}
	if config == nil {
		return nil
	}
	v.r.Report.Merge("", config.Report())
	v.r.ModelType = config.ModelType()
	if c.kind != KindFull && c.kind != KindZeRO && c.kind != KindFSDP {
		return nil
	}
	x, err := c.registry.Expect(config, nil)
	switch {
	case errors.Is(err, hfconfig.ErrUnknownModel):
		v.unheld = err.Error()
		return nil
	case err != nil:
		v.unheld = "config.json cannot describe a model"
		p := diag.New(diag.ConfigInvalid, "config.json cannot describe a model: %v", err)
		p.File, p.Got = configFile, err.Error()
		p.Cause = "the file was edited by hand, or belongs to another model"
		p.Fix = "take config.json from the base model or from an earlier checkpoint"
		v.add(p)
		return nil
	}
	v.r.Architecture = x.Architecture
	if c.model == nil && v.merged == nil || v.r.Tensors == 0 {
		return nil // what is wrong with the files has been said
	}
	return v.holdAgainst(x)
}

// checkHeld says if the tensors were not held against anything.
func checkHeld(v *validation) error {
	if v.r.Expected || v.r.Kind == KindRun || v.r.Kind == KindUnknown {
		return nil
	}
	config, configErr := v.c.config()
	why := v.unheld
	switch {
	case why != "":
	case v.r.Kind == KindFile:
		why = "a lone file has no config; verify its directory"
	case v.r.Kind == KindZeRO, v.r.Kind == KindFSDP:
		why = "the weights lie in training shards"
	case configErr != nil:
		why = "config.json is not usable"
	case config == nil && v.r.Kind == KindFull:
		why = "there is no config.json"
	default:
		why = "there are no tensors that could be read"
	}
	code := diag.NotHeld
	if v.o.RequireConfig {
		code = diag.NotHeldRequired
	}
	p := diag.New(code, "tensors NOT held against a config: %s", why)
	if config == nil && configErr == nil && v.r.Kind == KindFull {
		p.Fix = "put the model's config.json beside the weights"
	}
	v.add(p)
	return nil
}

// holdAgainst compares the tensors of all files with those expected.
func (v *validation) holdAgainst(x *hfconfig.Expectation) error {
	files := make(map[string]string) // by tensor
	tensors := func(yield func(*safetensors.TensorInfo) bool) {
		for i := range v.merged {
			if !yield(&v.merged[i]) {
				return
			}
		}
		if v.merged != nil {
			return
		}
		for shard, info := range v.c.model.Infos() {
			files[info.Name] = shard.Name
			if !yield(info) {
				return
			}
		}
	}
	lost := v.c.lost()
	o := &hfconfig.CompareOptions{Lost: func(name string) bool { return lost[name] }}
	found := x.Compare(tensors, o)
	if found.Report.Has(diag.TensorShape) { // the tokenizer may tell why; it takes time to read
		o.VocabSize = v.c.vocabSize()
		found = x.Compare(tensors, o)
	}
	v.r.Expected, v.r.Layout = true, found.Layout.String()
	v.copies = found.Copies
	v.r.Report.MergeFunc(found.Report, func(p *diag.Problem) bool {
		if p.File == "" && p.Code != diag.TensorMissing {
			p.File = files[p.Tensor]
		}
		return p.Code != diag.TiedTwice || !v.o.Values // else the copies are compared
	})
	return nil
}

// lost returns the tensors that the index puts into files that cannot be read, or
// that do not hold them: that they are missing has been said.
func (c *Checkpoint) lost() map[string]bool {
	if c.model == nil {
		return nil
	}
	held := make(map[string]bool)
	for _, info := range c.model.Infos() {
		held[info.Name] = true
	}
	names := make(map[string]bool)
	for tensor := range c.model.WeightMap() {
		if !held[tensor] {
			names[tensor] = true
		}
	}
	return names
}
