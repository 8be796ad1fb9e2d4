package hfconfig

import "fmt"

// A Layout is one of the ways in which the same weights are named and cut on
// disk. A checkpoint is written in one of them, whole.
type Layout uint8

// The layouts.
const (
	// Save is what save_pretrained writes by default for a model that was built
	// from scratch or loaded from a file in this layout: the names that the model
	// type has always had on disk.
	Save Layout = iota
	// Native is what save_pretrained(save_original_format=False) writes: the names
	// of the modules in memory, which adapters refer to.
	Native
	// Hub is that of published files where it is neither of the two.
	Hub

	layoutCount = 3
)

var layoutNames = [layoutCount]string{"save", "native", "hub"}

// String returns "save", "native" or "hub".
func (l Layout) String() string {
	if l >= layoutCount {
		return fmt.Sprintf("Layout(%d)", uint8(l))
	}
	return layoutNames[l]
}

// ParseLayout returns the layout of that name.
func ParseLayout(s string) (Layout, bool) {
	for l, name := range layoutNames {
		if name == s {
			return Layout(l), true
		}
	}
	return 0, false
}

type layoutSet uint8

const allLayouts layoutSet = 1<<layoutCount - 1

func (s layoutSet) has(l Layout) bool { return s&(1<<l) != 0 }

// A difference is a set of pairs of layouts in which a row differs.
type difference uint8

const (
	nativeSave difference = 1 << iota
	hubSave
	hubNative
)

func (r *row) differences() (d difference) {
	differ := func(a, b Layout, same layoutSet, pair difference) {
		if r.layouts.has(a) != r.layouts.has(b) || r.layouts.has(a) && !same.has(a) {
			d |= pair
		}
	}
	differ(Native, Save, r.saved, nativeSave)
	differ(Hub, Save, r.saved, hubSave)
	differ(Hub, Native, r.native, hubNative)
	return d
}
