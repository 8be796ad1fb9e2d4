package peft

import (
	"fmt"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// A mergePlan says what becomes of each tensor of the base.
type mergePlan struct {
	*mergeInput
	disk    *mergeDisk
	safe    bool
	targets map[string]*mergeTarget // by name in the result: those that the adapter changes
	placed  map[*entry]bool
	untied  bool
	reasons diag.Report // why it cannot be merged
}

// A mergeTarget is a tensor of the result that the adapter changes. For edits it is
// a matrix, whatever its shape.
type mergeTarget struct {
	info       safetensors.TensorInfo
	from       safetensors.Tensor // whose values are edited, of base or adapter
	rows, cols uint64
	edits      []mergeEdit // in the order in which PEFT makes them
	beside     string      // of a tensor that the base has not: one whose file it goes into
}

// A merger plans the merge of one layer. Types without one cannot be merged.
type merger func(p *mergePlan, l *layer)

var mergers = map[string]merger{
	"ADALORA":          mergeAdaLoRA,
	"IA3":              mergeIA3,
	"LOHA":             mergeLoHa,
	"LOKR":             mergeLoKr,
	"LORA":             mergeLoRA,
	"OFT":              mergeOFT,
	"TRAINABLE_TOKENS": mergeTokens,
	"VERA":             mergeVeRA,
}

// newMergePlan finds a place for every tensor of the adapter, or says in a
// *RefusedError why there is none.
func newMergePlan(in *mergeInput, o *MergeOptions) (*mergePlan, error) {
	p := &mergePlan{mergeInput: in, safe: o.Safe, targets: make(map[string]*mergeTarget), placed: make(map[*entry]bool)}
	c := in.check.c
	add := mergers[c.Type]
	if add == nil {
		p.cannot(ConfigFile, "adapters of type %s cannot be merged here", c.Type)
	}
	p.notPlain(c)
	p.disk = newMergeDisk(in)
	if p.reasons.Count(diag.Error) == 0 {
		p.whole()
		for i := range in.check.adapted {
			add(p, &in.check.adapted[i])
		}
		p.leftovers()
	}
	if p.untied {
		r := diag.New(diag.AdapterUntied, "modules_to_save trained one of two tied weights: the merged model stores both, and its config.json says tie_word_embeddings: false")
		r.File = ConfigFile
		in.report.Add(r)
	}
	if err := in.refuse(&p.reasons); err != nil {
		return nil, err
	}
	return p, nil
}

// cannot adds a reason.
func (p *mergePlan) cannot(tensor, format string, args ...any) {
	r := diag.New(diag.AdapterNotMerged, format, args...)
	r.File = WeightsFile
	if tensor == ConfigFile {
		r.File, tensor = ConfigFile, ""
	}
	r.Tensor = tensor
	r.Fix = "merge it with PEFT: model.merge_and_unload()"
	p.reasons.Add(r)
}

// notPlain refuses options whose merge needs more than the files.
func (p *mergePlan) notPlain(c *Config) {
	for _, v := range variants {
		if c.variant(v.field) && v.field != "velora_config" {
			p.cannot(ConfigFile, "%s is set: %s", v.field, v.effect)
		}
	}
	if decomposes(c.Init) {
		r := diag.New(diag.AdapterNotMerged, "init_lora_weights is %s: loading runs the decomposition of the base again and takes its part out of the base, which is not done here", diag.Name(c.Init))
		r.File, r.Got = ConfigFile, "init_lora_weights "+diag.Name(c.Init)
		r.Cause = "the adapter was saved without conversion to plain LoRA"
		r.Fix = "save it with save_pretrained(..., path_initial_model_for_weight_conversion=DIR), or merge it with PEFT"
		p.reasons.Add(r)
	}
}

// file returns a tensor of the adapter.
func (p *mergePlan) file(e *entry) safetensors.Tensor {
	p.placed[e] = true
	t, err := p.adapter.Tensor(e.info.Name)
	if err != nil {
		panic(err) // the entry was made from the same header
	}
	return t
}

// target returns the tensor of the result that has a name on disk; nil, and a
// reason, if the base has none that can be changed.
func (p *mergePlan) target(name string) *mergeTarget {
	if t := p.targets[name]; t != nil {
		return t
	}
	from, err := p.model.Tensor(name)
	if err != nil {
		p.cannot("", "the base has no tensor %s to merge into", diag.Name(name))
		return nil
	}
	t := &mergeTarget{info: from.Info(), from: from}
	t.rows, t.cols = 1, 1
	if shape := t.info.Shape; len(shape) > 0 {
		t.cols = shape[len(shape)-1]
		t.rows = t.info.Elements() / max(t.cols, 1)
	}
	p.targets[name] = t
	return t
}

// edited is target for weights that are computed with.
func (p *mergePlan) edited(name string) *mergeTarget {
	t := p.target(name)
	if t == nil {
		return nil
	}
	switch t.info.DType {
	case safetensors.F32, safetensors.BF16, safetensors.F16:
		return t
	}
	p.cannot("", "%s of the base is %s; want F32, BF16 or F16", diag.Name(name), t.info.DType)
	return nil
}

// edit adds an edit to a tensor of the base, and to its copies on disk if it is
// tied to others.
func (p *mergePlan) edit(name string, e mergeEdit) {
	for _, name := range p.disk.members(name) {
		t := p.edited(name)
		if t == nil {
			continue
		}
		if err := e.fit(t); err != nil {
			p.cannot("", "%s: %v", diag.Name(name), err)
			continue
		}
		t.edits = append(t.edits, e)
	}
}

// whole places the tensors that replace those of the base, or rows of them.
func (p *mergePlan) whole() {
	names := make(map[string]bool)
	for _, e := range p.check.entries {
		names[e.name] = true
	}
	for _, e := range p.check.entries {
		if e.key != "" || p.check.method.prompt != nil {
			continue
		}
		name := strings.ReplaceAll(e.name, ".base_layer.", ".")
		if path, ok := strings.CutSuffix(strings.TrimSuffix(name, ".default"), tokenRowsSuffix); ok {
			p.tokenRows(e, path)
			continue
		}
		if strings.Contains(name, ".original_module.") {
			p.placed[e] = true // a copy of the base's
			continue
		}
		if plain := strings.Replace(name, ".modules_to_save.", ".", 1); plain != name {
			if name = plain; names[plain] {
				p.placed[e] = true
				continue
			}
		}
		p.replace(e, name)
	}
}

const tokenRowsSuffix = ".token_adapter.trainable_tokens_delta"

// replace puts a tensor of the adapter in the place of one of the base, in the
// base's dtype. A tied weight that modules_to_save names is untied.
func (p *mergePlan) replace(e *entry, name string) {
	from := p.file(e)
	disk := p.disk.name(name)
	if group := p.disk.ties[disk]; group != nil && p.savedByName(name) && !p.check.c.TieWeights {
		p.untie(group)
	}
	for _, disk := range p.disk.members(disk) {
		t := p.target(disk)
		if t == nil {
			return
		}
		info := from.Info()
		if !slices.Equal(info.Shape, t.info.Shape) {
			p.cannot(e.info.Name, "%s has shape %v, %s of the base %v", diag.Name(e.info.Name), info.Shape, diag.Name(disk), t.info.Shape)
			return
		}
		if info.DType != t.info.DType && (!isFloat(info.DType) || !isFloat(t.info.DType)) {
			p.cannot(e.info.Name, "%s is %s, %s of the base %s", diag.Name(e.info.Name), info.DType, diag.Name(disk), t.info.DType)
			return
		}
		t.from = from
	}
}

// savedByName reports whether modules_to_save takes a tensor: a module's name ends
// with an entry, as plain text.
func (p *mergePlan) savedByName(name string) bool {
	for _, saved := range p.check.c.ModulesToSave {
		for i := strings.LastIndexByte(name, '.'); i > 0; i = strings.LastIndexByte(name[:i], '.') {
			if saved != "" && strings.HasSuffix(name[:i], saved) {
				return true
			}
		}
	}
	return false
}

// untie gives each of a group of tied weights a tensor of its own.
func (p *mergePlan) untie(group []string) {
	kept := p.target(group[0])
	if kept == nil {
		return
	}
	p.untied = true
	for _, name := range group {
		delete(p.disk.ties, name)
		if p.targets[name] == nil && !p.disk.has(name) {
			t := *kept
			t.info.Name, t.beside = name, group[0]
			p.targets[name] = &t
		}
	}
}

// leftovers refuses tensors that have found no place: where the base's model type
// is not known, Check cannot tell whether they are right.
func (p *mergePlan) leftovers() {
	for _, e := range p.check.entries {
		if !p.placed[e] {
			p.cannot(e.info.Name, "%s: nothing on disk is known to be what it belongs to", diag.Name(e.info.Name))
		}
	}
}

// tokenRows replaces the rows of an embedding that trainable_token_indices names.
func (p *mergePlan) tokenRows(e *entry, path string) {
	for _, t := range p.check.c.TokenIndices {
		if t.Module == "" && !inputEmbeddings[lastPart(path)] || !strings.HasSuffix(path, t.Module) {
			continue
		}
		p.edit(p.disk.name(path+".weight"), &rowsEdit{ids: t.IDs, from: p.file(e)})
		return
	}
	p.cannot(e.info.Name, "trainable_token_indices does not say which rows %s holds", diag.Name(e.info.Name))
}

// lack says that a layer has no tensor of that key.
func (p *mergePlan) lack(l *layer, key string) {
	p.cannot("", "%s has no %s", diag.Name(l.path), key)
}

var errNoFit = fmt.Errorf("the shapes of adapter and base do not belong together")
