package peft

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/safetensors"
)

// OpenBase returns the base that the model's directory fsys holds: by its
// config.json if registry knows the model type, else by the names of its tensors.
// What is no model is a *RefusedError. A nil registry means hfconfig.Builtin(). Only config and headers are read.
func OpenBase(fsys fs.FS, registry *hfconfig.Registry) (*Base, error) {
	if registry == nil {
		registry = hfconfig.Builtin()
	}
	modelType := ""
	text, err := readSmall(fsys, "config.json")
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("peft: base: %w", err)
	default:
		config, err := hfconfig.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("peft: base: %w", err)
		}
		if x, err := registry.Expect(config, nil); err == nil {
			return NewBase(x), nil
		}
		modelType = config.ModelType()
	}
	model, err := safetensors.OpenModel(fsys, nil)
	if errors.Is(err, safetensors.ErrNoModel) {
		return nil, refused(noBase(fsys))
	} else if err != nil {
		return nil, fmt.Errorf("peft: base: %w", err)
	}
	b := BaseFromTensors(func(yield func(*safetensors.TensorInfo) bool) {
		for _, info := range model.Infos() {
			if !yield(info) {
				return
			}
		}
	})
	b.ModelType = modelType
	return b, model.Close()
}
