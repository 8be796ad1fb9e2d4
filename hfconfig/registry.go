package hfconfig

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// ErrUnknownModel is matched (errors.Is) by the error of a config whose model is
// not known: nothing can be said of its tensors, and nothing is guessed. Every
// other error of Expect says that the config is bad.
var ErrUnknownModel = errors.New("the model is not known")

// An UnknownError says what is not known; it matches ErrUnknownModel.
type UnknownError struct {
	ModelType string // of the config or sub-config, "" if it has none
	Reason    string
}

func (e *UnknownError) Error() string {
	if e.ModelType == "" {
		return "hfconfig: " + e.Reason
	}
	return fmt.Sprintf("hfconfig: model_type %q: %s", e.ModelType, e.Reason)
}

func (e *UnknownError) Is(target error) bool { return target == ErrUnknownModel }

// A Registry knows model types. It is immutable; any number of goroutines may
// use it.
type Registry struct {
	own     map[string]*model // of With; they win over the built-in ones
	builtin bool
}

// Builtin returns the registry of the model types that this package carries.
// Their schemas are parsed one by one, when they are asked for.
func Builtin() *Registry { return &Registry{builtin: true} }

// With returns a registry that also knows the given schemas. Of two that
// describe the same model type the later one counts.
func (r *Registry) With(archs ...*Arch) *Registry {
	out := &Registry{own: maps.Clone(r.own), builtin: r.builtin}
	if out.own == nil {
		out.own = make(map[string]*model)
	}
	for _, a := range archs {
		for _, m := range a.models {
			out.own[m.name] = m
			for _, alias := range m.aliases {
				out.own[alias] = m
			}
		}
	}
	return out
}

// ModelTypes returns every model_type that the registry knows, sorted.
func (r *Registry) ModelTypes() []string {
	all := slices.Collect(maps.Keys(r.own))
	if r.builtin {
		all = append(all, slices.Collect(maps.Keys(builtinIndex()))...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (r *Registry) model(modelType string) (*model, error) {
	if m := r.own[modelType]; m != nil {
		return m, nil
	}
	if r.builtin {
		if f, ok := builtinIndex()[modelType]; ok {
			a, err := f.parse()
			if err != nil {
				return nil, err
			}
			for _, m := range a.models {
				if m.name == modelType || slices.Contains(m.aliases, modelType) {
					return m, nil
				}
			}
		}
	}
	if modelType == "" {
		return nil, &UnknownError{Reason: "config.json names no model_type"}
	}
	return nil, &UnknownError{modelType, "no schema describes it"}
}
