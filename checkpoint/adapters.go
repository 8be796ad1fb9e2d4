package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/peft"
	"github.com/safeckpt/safeckpt/safetensors"
)

// An adapter is one PEFT adapter, in the checkpoint's directory or in a
// sub-directory: those not named "default" are saved there.
type adapter struct {
	dir       string // "." or the sub-directory
	config    *peft.Config
	configErr error    // nil if there is no config either
	weights   *weights // nil if there is no adapter_model.safetensors
	pickled   bool     // adapter_model.bin is there
}

func (a *adapter) close() error { return a.weights.close() }

func (c *Checkpoint) openAdapters(o *Options) {
	if c.kind != KindAdapter && c.kind != KindFull {
		return
	}
	var dirs []string
	if c.files.has(adapterConfigFile) || c.files.has(adapterFile) || c.files.has(adapterBinFile) {
		dirs = append(dirs, ".")
	}
	for _, dir := range append(dirs, c.files.adapters()...) {
		a := &adapter{dir: dir}
		text, err := c.readText(path.Join(dir, adapterConfigFile))
		if err == nil {
			a.config, err = peft.ParseConfig(text)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			a.configErr = err
		}
		if name := path.Join(dir, adapterFile); exists(c.fsys, name) {
			a.weights = openWeights(c.fsys, name, o.Files)
		}
		a.pickled = exists(c.fsys, path.Join(dir, adapterBinFile))
		c.adapters = append(c.adapters, a)
	}
}

func exists(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return err == nil
}

// checkAdapters holds every adapter against its config and, if one was given,
// against the base.
func checkAdapters(v *validation) error {
	if len(v.c.adapters) == 0 {
		return nil
	}
	base, err := v.openBase()
	if err != nil {
		return fmt.Errorf("base model: %w", err)
	}
	held := true
	for _, a := range v.c.adapters {
		var r diag.Report
		held = v.checkAdapter(a, base, &r) && held
		v.r.Report.Merge(a.dir, &r)
	}
	if v.c.kind == KindAdapter {
		v.r.Expected = held
	}
	return nil
}

// checkAdapter reports whether the tensors were held against the config.
func (v *validation) checkAdapter(a *adapter, base *peft.Base, r *diag.Report) bool {
	if a.weights != nil {
		v.r.Report.Merge("", a.weights.report) // its files are named from the checkpoint's directory already
		v.count(a.weights.header)
	}
	var bad *peft.ConfigError
	switch {
	case errors.As(a.configErr, &bad):
		r.Add(bad.Problem)
		return false
	case a.configErr != nil:
		r.Add(unreadable(adapterConfigFile, a.configErr))
		return false
	case a.config == nil:
		v.unheld = "there is no " + adapterConfigFile
		p := diag.New(diag.AdapterConfigMissing, "%s is here without %s", adapterFile, adapterConfigFile)
		p.File, p.Want = adapterConfigFile, "the config that PEFT saves beside the weights"
		p.Cause, p.Fix = "only the weights were copied", "copy adapter_config.json from where the adapter was trained: rank, alpha and targets are in it"
		r.Add(p)
		return false
	}
	if v.r.Adapter == "" {
		v.r.Adapter = describeAdapter(a.config)
	}
	if a.weights == nil {
		r.Add(missingAdapter(a.pickled))
		return false
	}
	if a.weights.header == nil || a.weights.header.Tensors == nil && a.weights.file == nil {
		return false // what is wrong with the file has been said
	}
	found := peft.Check(&peft.Adapter{Config: a.config, Tensors: a.weights.header.Tensors}, base)
	r.Merge("", &found.Report)
	if !found.Expected {
		v.unheld = "which tensors an adapter of type " + diag.Name(a.config.Type) + " has is not known here"
	}
	return found.Expected
}

func missingAdapter(pickled bool) diag.Problem {
	if pickled {
		p := diag.New(diag.FormatNotChecked, "%s is a pickle, which is not checked, and there is no %s", adapterBinFile, adapterFile)
		p.Severity = diag.Error // there is nothing else that could be called valid
		p.File, p.Want = adapterBinFile, adapterFile
		p.Cause = "saved with safe_serialization=False, or by PEFT before 0.6"
		p.Fix = "load it where it is trusted and save it again: model.save_pretrained(DIR) writes safetensors"
		return p
	}
	p := diag.New(diag.WeightsMissing, "%s is here, but no %s", adapterConfigFile, adapterFile)
	p.File, p.Want = adapterFile, "the adapter's weights"
	p.Cause = "the save was killed, only the small files were copied, or the clone has no large files"
	p.Fix = "copy or download " + adapterFile + "; after a git clone: git lfs pull"
	return p
}

func describeAdapter(c *peft.Config) string {
	s := c.Type + " adapter"
	if c.Type == "LORA" {
		s = fmt.Sprintf("LoRA of rank %d, alpha %v", c.Rank, c.Alpha)
	}
	if c.BaseModelName != "" {
		s += " for " + diag.Name(c.BaseModelName)
	}
	return s
}

// openBase opens the base model that was given, nil if none was. Only its config
// and headers are read, and it is closed again.
func (v *validation) openBase() (*peft.Base, error) {
	if v.o.Base == "" {
		return nil, nil
	}
	dir, err := FindModel(v.o.Base)
	if err != nil {
		return nil, err
	}
	b, err := Open(v.ctx, dir, &Options{Registry: v.c.registry, Files: v.o.Files})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	base, err := b.asBase()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if base.Directory = dir; dir != v.o.Base {
		base.Name = v.o.Base // a name, not a directory's path
	}
	return base, nil
}

// asBase returns the modules of a full model: by its config, else by the names
// of its tensors.
func (c *Checkpoint) asBase() (*peft.Base, error) {
	if config := c.Config(); config != nil {
		if x, err := c.registry.Expect(config, nil); err == nil {
			return peft.NewBase(x), nil
		}
	}
	if c.model == nil {
		return nil, errors.New("no config.json of a model type that is known and no weights in safetensors: nothing to hold the adapter against")
	}
	return peft.BaseFromTensors(func(yield func(*safetensors.TensorInfo) bool) {
		for _, info := range c.model.Infos() {
			if !yield(info) {
				return
			}
		}
	}), nil
}

// checkAdapterValues looks for what only an adapter's values show.
func (v *validation) checkAdapterValues() error {
	for _, a := range v.c.adapters {
		if a.config == nil || a.weights == nil || a.weights.file == nil {
			continue
		}
		found, err := peft.CheckValues(v.ctx, a.config, a.weights.file.All())
		if err != nil {
			return err
		}
		v.r.Report.Merge(a.dir, found)
	}
	return nil
}
