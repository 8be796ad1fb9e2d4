package peft

import (
	"fmt"
	"slices"
	"strings"
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
	key   string // follows the module's name and a dot
	shape []dim  // nil if it is not known
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
