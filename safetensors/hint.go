package safetensors

import (
	"strings"
	"unicode"

	"github.com/safeckpt/safeckpt/diag"
)

// Hints returns notes about an accepted header that are not part of its report:
// dtypes that torch or numpy cannot load, and names that mean trouble where they
// become file names. Each says how many tensors it concerns and names one.
func Hints(h *Header) []diag.Problem {
	return append(dtypeHints(h), nameHints(h)...)
}

// Viewable reports whether a tensor of the header begins on a multiple of its
// element's size in the file, so that View can give it from a mapping.
func (h *Header) Viewable(t *TensorInfo) bool {
	size := max(t.DType.Bits()/8, 1)
	if t.DType == C64 {
		size = 4
	}
	return t.Bytes() == 0 || (uint64(h.DataStart())+t.Begin)%uint64(size) == 0
}

// dtypeHints follows what the Python package 0.8.0 loads with torch 2.15 and with
// numpy 2.4.
func dtypeHints(h *Header) (hints []diag.Problem) {
	var count [dtypeEnd]int
	var first [dtypeEnd]*TensorInfo
	for i := range h.Tensors {
		t := &h.Tensors[i]
		if count[t.DType]++; first[t.DType] == nil {
			first[t.DType] = t
		}
	}
	for d, t := range first {
		var p diag.Problem
		switch d := DType(d); {
		case t == nil:
			continue
		case d == F6_E2M3 || d == F6_E3M2:
			p = diag.New(diag.HintNoFramework, "neither torch nor numpy can load %s, the dtype of %d of %d tensors, first: %s", d, count[d], len(h.Tensors), diag.Name(t.Name))
		case d.IsFloat() && d.Bits() <= 8 || d == BF16:
			p = diag.New(diag.HintNoNumpy, "numpy cannot load %s, the dtype of %d of %d tensors, first: %s", d, count[d], len(h.Tensors), diag.Name(t.Name))
		default:
			continue
		}
		p.Tensor, p.Got = t.Name, t.DType.String()
		hints = append(hints, p)
	}
	return hints
}

func nameHints(h *Header) (hints []diag.Problem) {
	paths, cases := 0, 0
	var path, upper, lower *TensorInfo
	seen := make(map[string]*TensorInfo, len(h.Tensors))
	for i := range h.Tensors {
		t := &h.Tensors[i]
		if likePath(t.Name) {
			if paths++; path == nil {
				path = t
			}
		}
		folded := fold(t.Name)
		if other, ok := seen[folded]; ok {
			if cases++; upper == nil {
				upper, lower = other, t
			}
		}
		seen[folded] = t
	}
	if path != nil {
		p := diag.New(diag.HintNameLikePath, "%d of %d tensor names lead out of a directory that tensors are unpacked to, first: %s", paths, len(h.Tensors), diag.Name(path.Name))
		p.Tensor = path.Name
		hints = append(hints, p)
	}
	if upper != nil {
		p := diag.New(diag.HintNameCase, "%d of %d tensor names differ from another only in case, first: %s and %s", cases, len(h.Tensors), diag.Name(upper.Name), diag.Name(lower.Name))
		p.Tensor = lower.Name
		p.Related = []diag.Related{{Tensor: upper.Name, Message: "the other name"}}
		hints = append(hints, p)
	}
	return hints
}

// likePath reports whether a name, taken for a path, is not below the directory
// that it is looked up in, on any system. A slash alone is common: flax has it.
func likePath(name string) bool {
	if strings.HasPrefix(name, "/") || strings.Contains(name, `\`) {
		return true
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// fold returns the same string for all strings that strings.EqualFold finds
// equal: of the letters that are one but for case, the least.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, s)
}
