package peft

import (
	"strings"

	"github.com/safeckpt/safeckpt/safetensors"
)

// An entry is one tensor of the adapter's file, its name taken apart.
type entry struct {
	info    *safetensors.TensorInfo
	prefix  prefixState
	name    string // within the model
	module  string // "" if it is no tensor of the method
	key     string // what follows the module's name, without the adapter's name
	adapter string // the adapter's own name, if the file kept it
}

// A prefixState says how a name begins.
type prefixState uint8

const (
	prefixRight   prefixState = iota // base_model.model.
	prefixNone                       // nothing of that
	prefixTwice                      // base_model.model.base_model.model.
	prefixWrapped                    // what a wrapper of torch adds
	prefixOther                      // base_model. alone, and prompts
)

const modelPrefix = "base_model.model."

// wrappers are parts of names that wrappers of torch add to a module's tree.
var wrappers = []string{"_fsdp_wrapped_module.", "_orig_mod.", "_checkpoint_wrapped_module.", "module."}

// parseName takes the name of a tensor apart. methodPrefix is as in method.
func parseName(info *safetensors.TensorInfo, methodPrefix string) entry {
	e := entry{info: info, name: info.Name}
	for _, w := range wrappers {
		if rest, ok := strings.CutPrefix(e.name, w); ok {
			e.name, e.prefix = rest, prefixWrapped
		}
	}
	rest, ok := strings.CutPrefix(e.name, modelPrefix)
	switch {
	case ok:
		e.name = rest
		for ok {
			if rest, ok = strings.CutPrefix(e.name, modelPrefix); ok {
				e.name, e.prefix = rest, prefixTwice
			}
		}
		for _, w := range wrappers {
			for w != "module." && strings.Contains(e.name, w) {
				e.name, e.prefix = strings.ReplaceAll(e.name, w, ""), prefixWrapped
			}
		}
		if rest, ok := strings.CutPrefix(e.name, "module."); ok {
			e.name, e.prefix = rest, prefixWrapped
		}
	case strings.HasPrefix(e.name, "base_model."):
		e.prefix = prefixOther
	case e.prefix == prefixRight:
		e.prefix = prefixNone
	}
	if methodPrefix != "" {
		e.split(methodPrefix)
	}
	return e
}

// isShared reports whether the tensor stands outside of modules, as those of all
// layers.
func (e *entry) isShared() bool {
	return e.key != "" && (e.prefix == prefixOther || e.module == "" || e.module == adapterRoot)
}

// right returns the name that PEFT gives the tensor.
func (e *entry) right() string {
	switch {
	case e.isShared():
		return adapterRoot + "." + e.key
	case e.prefix == prefixOther:
		return e.info.Name
	case e.key != "":
		return modelPrefix + e.module + "." + e.key
	}
	return modelPrefix + e.name
}

// leaves are the last parts of names that say which parameter of a module it is,
// and so are no adapter's name.
var leaves = set("weight", "bias", "running_mean", "running_var", "num_batches_tracked", "module_logits", "original_module", "modules_to_save")

// split finds the method's part of the name. Follows peft 0.21.2
// tuners/tuners_utils.py, _remove_adapter_name_from_state_dict_key.
func (e *entry) split(methodPrefix string) {
	i := strings.LastIndex("."+e.name, "."+methodPrefix)
	if i < 0 {
		return
	}
	if i > 0 {
		e.module = e.name[:i-1]
	}
	parts := strings.Split(e.name[i:], ".")
	last := parts[len(parts)-1]
	switch {
	case len(parts) == 2 && !leaves[last]:
		e.key, e.adapter = parts[0], parts[1]
	case len(parts) == 3 && leaves[last]:
		e.key, e.adapter = parts[0]+"."+last, parts[1]
	default:
		e.key = strings.Join(parts, ".")
	}
	// Before and after PEFT's own renaming of it.
	if e.key == "lora_magnitude_vector.weight" {
		e.key = "lora_magnitude_vector"
	}
}
