package peft

import (
	"iter"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/safetensors"
)

// A Base is what is known of the model that an adapter goes onto. It is
// immutable; any number of goroutines may use it.
type Base struct {
	// Name is what the base is called, to be compared with the config's
	// base_model_name_or_path; "" if that is not known.
	Name string
	// Directory is where it was found, "" if it was in none. What a directory is
	// called says less than a name, but often the same.
	Directory string
	// ModelType is the model_type of its config.json, "" if unknown.
	ModelType string

	views []*view
	// certain says that the modules come from config.json and a schema. Else they
	// are read off the tensors on disk, whose names need not be those in memory.
	certain bool
	partial bool // there may be a head that is not known

	expectation *hfconfig.Expectation // what it was made from; nil if that were tensors
}

// A kind says what PEFT makes of a module.
type kind uint8

const (
	linear    kind = iota
	conv1d         // transformers' Conv1D: weight [in,out]
	conv           // nn.Conv1d/2d/3d
	embedding      // weight [entries,dim]
	attention      // nn.MultiheadAttention
	parameter      // a bare parameter, under its full name
	matrix         // a 2-d weight of unknown class: linear, conv1d or embedding
	other          // nothing that PEFT can put an adapter on
)

// A module is what an adapter can go onto. in and out are 0 where unknown.
type module struct {
	path    string
	kind    kind
	in, out uint64
	shape   []uint64 // of the weight; nil if unknown
}

// A view is the modules of a model under the names of one layout.
type view struct {
	layout  string
	modules []module
	byPath  map[string]int      // of modules
	tensors map[string][]uint64 // every tensor of the model
	parents map[string]bool     // every module that holds others
	pieces  map[string]bool     // modules that are one with others in memory, such as single experts
	was     map[string]string   // names that have been changed: of modules and tensors, to what they were
}

func newView(layout string) *view {
	return &view{layout: layout, byPath: make(map[string]int), tensors: make(map[string][]uint64), parents: make(map[string]bool), pieces: make(map[string]bool)}
}

func (v *view) add(m module) {
	if _, dup := v.byPath[m.path]; dup {
		return
	}
	v.byPath[m.path] = len(v.modules)
	v.modules = append(v.modules, m)
}

func (v *view) addTensor(name string, shape []uint64) {
	v.tensors[name] = shape
	for i := strings.LastIndexByte(name, '.'); i > 0; i = strings.LastIndexByte(name[:i], '.') {
		if v.parents[name[:i]] {
			return
		}
		v.parents[name[:i]] = true
	}
}

func (v *view) find(path string) *module {
	if i, ok := v.byPath[path]; ok {
		return &v.modules[i]
	}
	return nil
}

// NewBase returns the base that config.json describes.
func NewBase(x *hfconfig.Expectation) *Base {
	b := &Base{ModelType: x.ModelType, certain: true, partial: x.Partial, expectation: x}
	native := newView(hfconfig.Native.String())
	b.views = append(b.views, native)
	for m := range x.Modules() {
		native.addModule(m.Path, &m)
	}
	for _, l := range x.Layouts() {
		if l == hfconfig.Native {
			continue
		}
		v := newView(l.String())
		for m := range x.Modules() {
			if name := m.Name(l); name != "" {
				v.addModule(name, &m)
			}
		}
		for t := range x.All(l) {
			if _, known := v.tensors[t.Name]; !known {
				v.addUnknown(t.Name, t.Shape)
				v.pieces[strings.TrimSuffix(t.Name, ".weight")] = true
			}
		}
		if !v.sameNames(native) {
			v.finish()
			b.views = append(b.views, v)
		}
	}
	native.finish()
	return b
}

func (v *view) sameNames(o *view) bool {
	if len(v.modules) != len(o.modules) {
		return false
	}
	for i := range v.modules {
		if v.modules[i].path != o.modules[i].path {
			return false
		}
	}
	return true
}

var kinds = map[hfconfig.Kind]kind{
	hfconfig.Linear: linear, hfconfig.Conv1D: conv1d, hfconfig.Conv: conv,
	hfconfig.Embedding: embedding, hfconfig.Param: parameter,
}

// addModule adds a module of a schema with its tensors.
func (v *view) addModule(path string, m *hfconfig.Module) {
	k, ok := kinds[m.Kind]
	if !ok {
		k = other
	}
	v.add(module{path, k, m.In, m.Out, m.Shape})
	if m.Kind == hfconfig.Param || m.Kind == hfconfig.Buffer {
		v.addTensor(path, m.Shape)
		return
	}
	v.addTensor(path+".weight", m.Shape)
	if m.Bias {
		n := m.Out
		if n == 0 {
			n = m.Shape[0]
		}
		v.addTensor(path+".bias", []uint64{n})
	}
	if m.Kind == hfconfig.BatchNorm {
		v.addTensor(path+".running_mean", m.Shape)
		v.addTensor(path+".running_var", m.Shape)
		v.addTensor(path+".num_batches_tracked", []uint64{})
	}
}

// BaseFromTensors returns a base of which only the tensors on disk are known:
// modules are guessed from names and shapes, and Check is milder about names
// that are not among them.
func BaseFromTensors(tensors iter.Seq[*safetensors.TensorInfo]) *Base {
	v := newView("disk")
	for t := range tensors {
		path, packed := strings.CutSuffix(t.Name, ".qweight") // GPTQ, AWQ
		if !packed {
			path, packed = strings.CutSuffix(t.Name, ".weight")
			packed = packed && !isFloat(t.DType) // bitsandbytes
		}
		_, dup := v.tensors[t.Name]
		switch {
		case dup || len(t.Name) > maxName:
		case packed: // the shape says nothing
			v.add(module{path: path, kind: linear})
			v.addTensor(t.Name, t.Shape)
		default:
			v.addUnknown(t.Name, t.Shape)
		}
	}
	v.addTiedHead()
	v.finish()
	return &Base{views: []*view{v}}
}

// addUnknown adds a tensor and the module that its name and shape speak for.
func (v *view) addUnknown(name string, shape []uint64) {
	v.addTensor(name, shape)
	path, isWeight := strings.CutSuffix(name, ".weight")
	switch {
	case strings.HasSuffix(name, ".bias"):
	case isWeight && len(shape) == 2:
		k := matrix
		if isEmbeddingName(path) {
			k = embedding
		}
		m := module{path, k, shape[1], shape[0], shape}
		if k == embedding {
			m.in, m.out = shape[0], shape[1]
		}
		v.add(m)
	case isWeight && len(shape) >= 3 && len(shape) <= 5:
		v.add(module{path, conv, shape[1], shape[0], shape})
	case isWeight:
		v.add(module{path, other, 0, 0, shape})
	default:
		v.add(module{name, parameter, 0, 0, shape})
	}
}

// finish adds what follows from several tensors: nn.MultiheadAttention.
func (v *view) finish() {
	for _, m := range v.modules {
		path, ok := strings.CutSuffix(m.path, ".in_proj_weight")
		if ok && m.kind == parameter && len(m.shape) == 2 && m.shape[0] == 3*m.shape[1] && v.find(path+".out_proj") != nil {
			v.add(module{path, attention, m.shape[1], m.shape[0], m.shape})
		}
	}
}

// addTiedHead adds the output embedding that save_pretrained leaves out when it
// is tied to the input embedding.
func (v *view) addTiedHead() {
	if v.find("lm_head") != nil {
		return
	}
	for _, m := range v.modules {
		if m.kind == embedding && inputEmbeddings[lastPart(m.path)] {
			v.add(module{"lm_head", linear, m.out, m.in, m.shape})
			v.addTensor("lm_head.weight", m.shape)
			return
		}
	}
}

// embeddingWidth returns the width of the input embeddings, 0 if it is not known.
func (v *view) embeddingWidth() uint64 {
	for _, m := range v.modules {
		if m.kind == embedding && inputEmbeddings[lastPart(m.path)] {
			return m.out
		}
	}
	return 0
}

// inputEmbeddings are the last parts of the names that models give to their
// token embedding; outputEmbeddings to the layer that maps back to tokens.
var (
	inputEmbeddings  = set("embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings", "shared", "embeddings")
	outputEmbeddings = set("lm_head", "embed_out", "output_layer")
)

func set(names ...string) map[string]bool {
	m := make(map[string]bool)
	for _, n := range names {
		m[n] = true
	}
	return m
}

func isEmbeddingName(path string) bool {
	last := lastPart(path)
	return inputEmbeddings[last] || strings.Contains(last, "embedding") || slices.Contains([]string{"wpe", "embed_positions"}, last)
}

func lastPart(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
