package peft

import (
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/safetensors"
)

// A mergeDisk finds on disk what has other names in memory.
type mergeDisk struct {
	view    *view
	model   *safetensors.Model
	modules map[string]string   // from the view's names to those on disk
	ties    map[string][]string // by each of them: tied tensors, by names on disk; the one that is saved first
	experts []expertGroup       // experts that are single tensors on disk
}

func newMergeDisk(in *mergeInput) *mergeDisk {
	d := &mergeDisk{view: in.check.view, model: in.model, modules: make(map[string]string), ties: make(map[string][]string)}
	d.experts = expertGroups(in.infos())
	x := in.check.base.expectation
	if x == nil {
		d.tieHead()
		return d
	}
	layout := x.Compare(in.infos(), nil).Layout
	of := hfconfig.Native
	for _, l := range x.Layouts() {
		if l.String() == d.view.layout {
			of = l
		}
	}
	native := make(map[string]string)
	for m := range x.Modules() {
		if on := m.Name(layout); on != "" {
			native[m.Path] = on
			if name := m.Name(of); name != "" {
				d.modules[name] = on
			}
		}
	}
	for _, group := range x.Tied() {
		for i, name := range group {
			group[i] = through(native, name)
		}
		d.tie(group)
	}
	return d
}

// tieHead ties an output embedding that is not on disk to the input embedding.
func (d *mergeDisk) tieHead() {
	head := d.view.find("lm_head")
	if head == nil || d.has("lm_head.weight") {
		return
	}
	for _, m := range d.view.modules {
		if m.kind == embedding && inputEmbeddings[lastPart(m.path)] && slices.Equal(m.shape, head.shape) {
			d.tie([]string{d.name(m.path + ".weight"), "lm_head.weight"})
			return
		}
	}
}

func (d *mergeDisk) tie(group []string) {
	for _, name := range group {
		d.ties[name] = group
	}
}

func (d *mergeDisk) has(name string) bool {
	_, err := d.model.Tensor(name)
	return err == nil
}

// name returns the name on disk of a tensor, which need not be there.
func (d *mergeDisk) name(tensor string) string {
	if was, ok := d.view.was[tensor]; ok {
		tensor = was
	}
	return through(d.modules, tensor)
}

// through maps the name of a tensor by that of its module, or by its own.
func through(modules map[string]string, tensor string) string {
	if on, ok := modules[tensor]; ok {
		return on
	}
	if i := strings.LastIndexByte(tensor, '.'); i > 0 {
		if on, ok := modules[tensor[:i]]; ok {
			return on + tensor[i:]
		}
	}
	return tensor
}

// members returns the tensors on disk that change with one: itself, or those that
// are tied to it and are there.
func (d *mergeDisk) members(name string) []string {
	group := d.ties[name]
	if group == nil {
		return []string{name}
	}
	var out []string
	for _, n := range group {
		if d.has(n) {
			out = append(out, n)
		}
	}
	return out
}
