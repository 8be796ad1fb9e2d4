package peft

import (
	"fmt"
	"slices"
	"strings"
)

// A want is a tensor that an adapter must hold.
type want struct {
	key      string // follows the module's name and a dot
	shape    []dim  // nil if it is not known
	optional bool   // may be absent
	hollow   bool   // its last dimension may be 0
	lack     string // what its absence means, where that is special
}

// mayBeEmpty reports whether a tensor of that shape, which holds nothing, is right
// to.
func (w want) mayBeEmpty(shape []uint64) bool {
	return w.hollow && len(shape) > 1 && shape[0] > 0 || slices.ContainsFunc(w.shape, func(d dim) bool { return d.sym == "" && d.n == 0 })
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
