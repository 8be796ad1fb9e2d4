package peft

import (
	"fmt"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/safetensors"
)

// A method is what Check knows of one PEFT type.
type method struct {
	// prefix begins the part of a tensor's name that follows the module's.
	prefix string
	// wants returns the tensors of one adapted module. r is the module's rank; have
	// gives the shape of a tensor that the file holds, or nil.
	wants func(c *Config, m *module, r int, have func(key string) []uint64) []want
	// takes says which kinds of modules the method can go onto.
	takes []kind
	// extra says of a tensor of the method that wants does not name whether it may
	// be there nevertheless.
	extra func(c *Config, key string) bool
}

// methods is the table of PEFT types whose tensors are known. Types that are in
// fieldsOf but not here are listed, not held against their config.
var methods = map[string]*method{
	"LORA": &lora,
}

// Types returns the PEFT types that are known by name, sorted. Follows peft
// 0.21.2 utils/peft_types.py.
func Types() []string { return sortedKeys(fieldsOf) }

// Checked returns the PEFT types whose tensors Check holds against the config,
// sorted.
func Checked() []string { return sortedKeys(methods) }

// A want is a tensor that an adapter must hold.
type want struct {
	key      string // follows the module's name and a dot
	shape    []dim  // nil if it is not known
	optional bool
}

// A dim is one dimension of a wanted shape: a number, or a name whose value the
// tensors of the module must agree on.
type dim struct {
	n    uint64
	sym  string
	rank bool // this number is the rank
}

func fixed(n uint64) dim { return dim{n: n} }

// size returns the dimension of a known size, else one of that name.
func size(n uint64, sym string) dim {
	if n == 0 {
		return dim{sym: sym}
	}
	return dim{n: n}
}

// anySize stands for a dimension that nothing is said of.
var anySize = dim{sym: "*"}

func (d dim) String() string {
	if d.sym != "" {
		return d.sym
	}
	return fmt.Sprint(d.n)
}

func shapeString(shape []uint64) string {
	return strings.ReplaceAll(fmt.Sprint(shape), " ", ",")
}

func dimsString(dims []dim) string {
	return strings.ReplaceAll(fmt.Sprint(dims), " ", ",")
}

// fits holds a shape against a wanted one and binds names that are still free.
func fits(want []dim, shape []uint64, bound map[string]uint64) bool {
	if want == nil {
		return true
	}
	if len(want) != len(shape) {
		return false
	}
	fresh := make(map[string]uint64)
	for i, d := range want {
		n := d.n
		switch {
		case d.sym == "*":
			continue
		case d.sym != "":
			var ok bool
			if n, ok = bound[d.sym]; !ok {
				if n, ok = fresh[d.sym]; !ok {
					n = shape[i]
					fresh[d.sym] = n
				}
			}
		}
		if shape[i] != n {
			return false
		}
	}
	for sym, n := range fresh {
		bound[sym] = n
	}
	return true
}

// bindAll replaces the names in a wanted shape by what they are bound to.
func bindAll(want []dim, bound map[string]uint64) []dim {
	out := slices.Clone(want)
	for i, d := range out {
		if n, ok := bound[d.sym]; ok && d.sym != "*" {
			out[i] = fixed(n)
		}
	}
	return out
}

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
	isLeaf := last == "weight" || last == "bias"
	switch {
	case len(parts) == 2 && !isLeaf:
		e.key, e.adapter = parts[0], parts[1]
	case len(parts) == 3 && isLeaf:
		e.key, e.adapter = parts[0]+"."+last, parts[1]
	default:
		e.key = strings.Join(parts, ".")
	}
	// Before and after PEFT's own renaming of it.
	if e.key == "lora_magnitude_vector.weight" {
		e.key = "lora_magnitude_vector"
	}
}
