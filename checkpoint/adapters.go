package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/peft"
)

// An adapter is one PEFT adapter, in the checkpoint's directory or in a
// sub-directory: those not named "default" are saved there.
type adapter struct {
	dir       string // "." or the sub-directory
	config    *peft.Config
	configErr error    // nil if there is no config either
	weights   *weights // nil if there is no adapter_model.safetensors
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
		return v.absent(a, r)
	}
	if v.r.Adapter == "" {
		v.r.Adapter = describeAdapter(a.config)
	}
	if a.weights == nil {
		return v.absent(a, r)
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

// absent says what there is not of an adapter.
func (v *validation) absent(a *adapter, r *diag.Report) (held bool) {
	if dir, err := fs.Sub(v.c.fsys, a.dir); err == nil {
		if p, ok := peft.Absent(dir); ok {
			r.Add(p)
		}
	}
	return false
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
	base, err := peft.OpenBase(os.DirFS(dir), v.c.registry)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if base.Directory = dir; dir != v.o.Base {
		base.Name = v.o.Base // a name, not a directory's path
	}
	return base, nil
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
