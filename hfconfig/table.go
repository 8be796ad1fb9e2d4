package hfconfig

import (
	"iter"
	"regexp"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/safetensors"
)

// A table is what a checkpoint in one layout holds, by name.
type table struct {
	layout  Layout
	prefix  string // of the base model, with its dot; "" if none
	entries []entry
	byName  map[string]int
	fitting *fitting        // nil: not quantized
	blind   map[string]bool // modules and stacks that are quantized in a way that is not known
}

// An entry is one tensor of a table.
type entry struct {
	name     string   // on disk
	native   string   // in memory; "" if no tensor in memory is this one
	shape    []uint64 // nil: any
	kind     Kind
	optional bool                // a checkpoint may leave it out
	part     bool                // of a quantized weight
	dtypes   []safetensors.DType // that a part may have; nil: any floating-point type
	held     *safetensors.TensorInfo
}

// memory returns the name in memory, or where there is none, on disk.
func (e *entry) memory() string {
	if e.native == "" {
		return e.name
	}
	return e.native
}

// table lists what a checkpoint that holds these tensors should hold.
func (p *plan) table(l Layout, prefix string, held []*safetensors.TensorInfo) *table {
	t := &table{layout: l, byName: make(map[string]int, p.count)}
	if prefix != "" {
		t.prefix = prefix + "."
	}
	var choose func(*weight) bool
	if t.fitting = p.fitting(held, t.prefix); t.fitting != nil {
		choose = t.fitting.choose
		t.blind = make(map[string]bool)
	}
	p.eachAs(l, choose, func(x *emitted) bool {
		e := entry{name: string(x.name), shape: x.shape, kind: x.row.kind, optional: x.optional()}
		switch {
		case x.row.native.has(l) && x.row.layouts.has(Native):
			e.native = e.name
		case x.row.layouts.has(Native):
			e.native = string(append(appendName(nil, x.row.names[Native], x.frame), x.name[x.base:]...))
		}
		if x.part != nil {
			e.kind, e.part, e.dtypes = Buffer, true, x.part.dtypes
		} else if x.blind {
			e.kind, e.shape = Buffer, nil
			t.blind[e.name[:x.base]] = true
		}
		t.byName[e.name] = len(t.entries)
		t.entries = append(t.entries, e)
		return true
	})
	return t
}

// How a name on disk became one of the model's.
type translation uint8

const (
	asIs     translation = iota
	legacy               // an old name of the same tensor
	prefixed             // the base model's prefix was added
	stripped             // the base model's prefix was taken off
)

// legacyNames are transformers' renames for all models, both ends being tried:
// conversion_mapping.py, "legacy".
var legacyNames = [...][2]string{
	{"LayerNorm.gamma", "LayerNorm.weight"},
	{"LayerNorm.beta", "LayerNorm.bias"},
	{".weight_g", ".parametrizations.weight.original0"},
	{".weight_v", ".parametrizations.weight.original1"},
}

// plain returns the end of the name of the tensor that holds a weight as it is.
func (t *table) plain(path string) string {
	if _, ok := t.byName[path]; ok {
		return ""
	}
	return ".weight"
}

// find returns the entry that from_pretrained puts the tensor of this name into.
func (t *table) find(name string) (int, translation, bool) {
	if i, ok := t.byName[name]; ok {
		return i, asIs, true
	}
	if i, how, ok := t.fitPrefix(name); ok {
		return i, how, true
	}
	old := name
	for _, r := range legacyNames {
		name = strings.Replace(name, r[0], r[1], 1)
	}
	for _, doubled := range [...]string{"model.language_model.model", "language_model.model.model"} { // transformers 5.10 to 5.23
		if rest, ok := strings.CutPrefix(name, doubled); ok {
			name = "model.language_model" + rest
		}
	}
	if name != old {
		if i, ok := t.byName[name]; ok {
			return i, legacy, true
		}
		if i, _, ok := t.fitPrefix(name); ok {
			return i, legacy, true
		}
	}
	return 0, 0, false
}

func (t *table) fitPrefix(name string) (int, translation, bool) {
	if t.prefix == "" {
		return 0, 0, false
	}
	if rest, ok := strings.CutPrefix(name, t.prefix); ok {
		if i, ok := t.byName[rest]; ok {
			return i, stripped, true
		}
	}
	i, ok := t.byName[t.prefix+name]
	return i, prefixed, ok
}

// A match is how a checkpoint's tensors fit one table.
type match struct {
	*table
	left  []*safetensors.TensorInfo // fit no entry
	fits  int
	how   [stripped + 1]int
	extra []*safetensors.TensorInfo // fit an entry that another tensor has
}

func (t *table) match(held []*safetensors.TensorInfo) *match {
	m := &match{table: t}
	for _, h := range held {
		i, how, ok := t.find(h.Name)
		switch {
		case !ok:
			m.left = append(m.left, h)
		case t.entries[i].held != nil:
			m.extra = append(m.extra, h)
		default:
			t.entries[i].held = h
			m.how[how]++
			m.fits++
		}
	}
	return m
}

// onDisk returns the name that the entry has in this checkpoint, whose names may
// lack the base model's prefix.
func (m *match) onDisk(e *entry) string {
	if m.how[prefixed] > m.how[asIs] {
		return strings.TrimPrefix(e.name, m.prefix)
	}
	return e.name
}

func collect(tensors iter.Seq[*safetensors.TensorInfo]) []*safetensors.TensorInfo {
	held := slices.Collect(tensors)
	slices.SortStableFunc(held, func(a, b *safetensors.TensorInfo) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(held, func(a, b *safetensors.TensorInfo) bool { return a.Name == b.Name })
}

// patterns compiles what ParseArch has compiled before.
func patterns(lists ...[]string) *regexp.Regexp {
	all := slices.Concat(lists...)
	if len(all) == 0 {
		return nil
	}
	return regexp.MustCompile("(?:" + strings.Join(all, ")|(?:") + ")")
}
