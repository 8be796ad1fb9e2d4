package peft

import (
	"fmt"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// A check holds one adapter against its config and a base.
type check struct {
	c       *Config
	method  *method
	base    *Base // nil if there is none
	view    *view // of the base; without a base, of the file itself
	match   *matcher
	entries []*entry
	modules map[string]map[string]*entry // of the method's tensors: by module, by key
	used    map[*entry]bool              // accounted for
	unsure  bool                         // some names could not be held against the base
	layers  map[layerID]bool             // that the file holds something for
	depth   map[string]int               // of the base: the highest layer of each stack
	res     *Result
}

// Check holds an adapter against its config and, if base is not nil, against
// the model that it is meant for. Without a base it says what config and file
// alone can tell. It reads no values; see CheckValues.
func Check(a *Adapter, base *Base) *Result {
	k := &check{c: a.Config, base: base, modules: make(map[string]map[string]*entry), used: make(map[*entry]bool), res: &Result{}}
	k.res.Report.Merge("", a.Config.Report())
	k.method = methods[k.c.Type]
	k.read(a.Tensors)
	if k.noTensors() {
		return k.res
	}
	k.dtypes()
	if k.method == nil {
		k.notHeld()
		return k.res
	}
	k.res.Expected = true
	k.prefixes()
	k.adapterNames()
	if base != nil {
		k.res.Based = true
		if !k.findView() {
			return k.res
		}
	} else {
		k.view = k.viewOfFile()
	}
	k.inferTargets()
	k.match = newMatcher(k.c)
	k.targets()
	k.parameters()
	k.savedModules()
	k.tokenRows()
	k.biases()
	k.leftovers()
	k.targetEntries()
	k.patternKeys()
	k.evenLayers()
	k.baseName()
	k.res.Report.Add(k.match.problems...)
	return k.res
}

// problem returns a problem of the weights file.
func problem(code diag.Code, e *entry, format string, args ...any) diag.Problem {
	p := diag.New(code, format, args...)
	p.File = WeightsFile
	if e != nil {
		p.Tensor = e.info.Name
	}
	return p
}

// maxName bounds the names that are looked at, in bytes. Real ones have up to 200.
const maxName = 2048

// read takes all names apart.
func (k *check) read(tensors []safetensors.TensorInfo) {
	prefix := ""
	if k.method != nil {
		prefix = k.method.prefix
	}
	for i := range tensors {
		if len(tensors[i].Name) > maxName {
			p := problem(diag.AdapterUnexplained, &entry{info: &tensors[i]}, "a name of %d bytes is no name of an adapter's tensor", len(tensors[i].Name))
			p.Cause, p.Fix = "the file is no adapter, or damaged", "remove the tensor"
			k.res.Report.Add(p)
			k.res.Unexplained++
			continue
		}
		e := parseName(&tensors[i], prefix)
		k.entries = append(k.entries, &e)
	}
	slices.SortFunc(k.entries, func(a, b *entry) int { return diag.CompareNames(a.info.Name, b.info.Name) })
	k.index()
}

// index fills modules. Two names that mean the same tensor are a problem.
func (k *check) index() {
	clear(k.modules)
	for _, e := range k.entries {
		if e.key == "" {
			continue
		}
		of := k.modules[e.module]
		if of == nil {
			of = make(map[string]*entry)
			k.modules[e.module] = of
		}
		first := of[e.key]
		if first == nil {
			of[e.key] = e
			continue
		}
		if !k.used[e] {
			k.used[e] = true
			p := problem(diag.AdapterTensorTwice, e, "%s and %s are the same tensor of the adapter", diag.Name(first.info.Name), diag.Name(e.info.Name))
			p.Cause = "two adapters, or two ways of naming one, were joined in one file"
			p.Fix = "keep one of them"
			k.res.Report.Add(p)
		}
	}
}

// fileModules returns the modules of the method's tensors, in natural order.
func (k *check) fileModules() []string {
	names := sortedKeys(k.modules)
	slices.SortFunc(names, diag.CompareNames)
	return names
}

// viewOfFile makes a base of what the file itself shows: modules, their kinds,
// no sizes.
func (k *check) viewOfFile() *view {
	v := newView("file")
	for _, path := range k.fileModules() {
		keys := k.modules[path]
		m := module{path: path}
		switch {
		case keys["lora_embedding_A"] != nil || keys["lora_embedding_B"] != nil:
			m.kind = embedding
		case keys["lora_A.weight"] != nil && len(keys["lora_A.weight"].info.Shape) > 2:
			m.kind = conv
		}
		if outer, ok := strings.CutSuffix(path, ".base_layer.out_proj"); ok && k.modules[outer] != nil {
			v.modules[v.byPath[outer]].kind = attention
			continue
		}
		if strings.HasSuffix(path, ".base_layer") {
			continue // of nested parameters, see parameters
		}
		v.add(m)
	}
	return v
}

// rank returns the rank of a module, the pattern that it comes from ("" for r)
// and its alpha.
func (k *check) rank(name string) (rank int, key string, alpha float64) {
	rank, alpha = k.c.Rank, k.c.Alpha
	if hits := k.match.pick(k.c.RankPattern, name); len(hits) > 0 {
		p := k.c.RankPattern[hits[0]]
		rank, key = int(p.Value), p.Key
	}
	if hits := k.match.pick(k.c.AlphaPattern, name); len(hits) > 0 {
		alpha = k.c.AlphaPattern[hits[0]].Value
	}
	return rank, key, alpha
}

// targets holds every module that target_modules selects against the file.
func (k *check) targets() {
	for i := range k.view.modules {
		m := &k.view.modules[i]
		if m.kind == parameter {
			continue
		}
		entry, ok := k.targetOf(m)
		if !ok {
			continue
		}
		if m.kind == other || !slices.Contains(k.method.takes, m.kind) {
			k.unsupported(m.path, entry)
			continue
		}
		k.module(*m, m.path, entry)
	}
	k.targetedParents()
}

// targetOf returns the entry that selects a module of the view.
func (k *check) targetOf(m *module) (string, bool) {
	if !k.c.Targets.allLinear() || !k.c.Targets.isRegex() {
		return k.match.target(m.path)
	}
	last := lastPart(m.path)
	head := outputEmbeddings[last] || k.c.TaskType == "SEQ_CLS" && (last == "score" || last == "classifier")
	isLinear := m.kind == linear || m.kind == conv1d || m.kind == matrix && k.modules[m.path] != nil
	return k.c.Targets.Regex, isLinear && (!head || k.base == nil) && !k.match.excluded(m.path)
}

// targetedParents finds modules that hold other modules and are selected too.
// PEFT raises an error for them.
func (k *check) targetedParents() {
	if k.base == nil || !k.base.certain || k.view != k.base.views[0] || k.c.Targets.allLinear() {
		return
	}
	for _, path := range sortedKeys(k.view.parents) {
		if k.view.find(path) != nil {
			continue
		}
		if entry, ok := k.match.target(path); ok {
			k.unsupported(path, entry)
		}
	}
}

func (k *check) unsupported(path, entry string) {
	if !k.base.certain {
		return
	}
	p := diag.New(diag.AdapterUnsupported, "target_modules selects %s (by %s), which is no layer that %s can adapt", diag.Name(path), diag.Name(entry), k.c.Type)
	p.File, p.Got = ConfigFile, diag.Name(path)
	p.Cause = "PEFT raises an error for it: the entry is too wide, or the adapter is of another model"
	p.Fix = "name only linear, convolution or embedding layers in target_modules, or add it to exclude_modules"
	k.res.Report.Add(p)
}

// module holds one targeted module against the file. name is what patterns are
// held against.
func (k *check) module(m module, name, entry string) {
	rank, key, alpha := k.rank(name)
	r := ModuleResult{Path: name, Target: entry, Rank: rank, Alpha: alpha, Scaling: k.c.scaling(rank, alpha), Complete: true}
	parts := []module{m}
	if m.kind == attention {
		parts = attentionParts(&m)
	}
	for _, part := range parts {
		have, complete := k.part(&part, rank, key)
		r.Tensors += have
		r.Complete = r.Complete && complete
	}
	if r.Tensors == 0 && k.mayLack(&m) {
		return
	}
	if r.Complete {
		k.res.Complete++
	}
	k.res.Modules = append(k.res.Modules, r)
}

// mayLack reports whether a targeted module may have no tensors of its own: the
// adapter of a tied output embedding is that of the input embedding.
func (k *check) mayLack(m *module) bool {
	return k.c.TieWeights && outputEmbeddings[lastPart(m.path)]
}

// part holds the tensors of one layer against what the method wants.
func (k *check) part(m *module, rank int, key string) (have int, complete bool) {
	of := k.modules[m.path]
	if m.kind == matrix {
		m = k.resolve(m, rank, of)
	}
	shape := func(key string) []uint64 {
		if e := of[key]; e != nil {
			return e.info.Shape
		}
		return nil
	}
	wants := k.method.wants(k.c, m, rank, shape)
	var absent []want
	var wrong []mismatch
	empty := false
	bound := make(map[string]uint64)
	for _, w := range wants {
		e := of[w.key]
		if e == nil {
			if !w.optional {
				absent = append(absent, w)
			}
			continue
		}
		have++
		k.used[e] = true
		if isEmpty(e.info) {
			empty = true
		} else if !fits(w.shape, e.info.Shape, bound) {
			wrong = append(wrong, mismatch{e, bindAll(w.shape, bound)})
		}
	}
	for key, e := range of {
		if k.method.extra != nil && k.method.extra(k.c, key) {
			k.used[e] = true
		}
	}
	if have == 0 && k.mayLack(m) {
		return 0, true
	}
	for i := range absent {
		absent[i].shape = bindAll(absent[i].shape, bound)
	}
	k.missing(m, absent, have)
	k.wrongShapes(m, rank, key, wrong)
	return have, !empty && len(absent) == 0 && len(wrong) == 0
}

// resolve decides what a 2-d weight of unknown class is by the tensors that are
// there for it.
func (k *check) resolve(m *module, rank int, of map[string]*entry) *module {
	as := func(kd kind, in, out uint64) *module { return &module{m.path, kd, in, out, m.shape} }
	if of["lora_embedding_A"] != nil || of["lora_embedding_B"] != nil {
		return as(embedding, m.shape[0], m.shape[1])
	}
	straight, turned := as(linear, m.in, m.out), as(conv1d, m.out, m.in)
	shape := func(key string) []uint64 {
		if e := of[key]; e != nil {
			return e.info.Shape
		}
		return nil
	}
	for _, candidate := range []*module{straight, turned} {
		ok := true
		bound := make(map[string]uint64)
		for _, w := range k.method.wants(k.c, candidate, rank, shape) {
			if e := of[w.key]; e != nil {
				ok = ok && fits(w.shape, e.info.Shape, bound)
			}
		}
		if ok {
			return candidate
		}
	}
	return straight
}

func isEmpty(t *safetensors.TensorInfo) bool { return slices.Contains(t.Shape, 0) }

// missing reports what a targeted module lacks.
func (k *check) missing(m *module, absent []want, have int) {
	if len(absent) == 0 {
		return
	}
	if have == 0 {
		p := problem(diag.AdapterModuleMissing, nil, "%s is targeted and has no tensors in the file", diag.Name(m.path))
		p.Tensor = modelPrefix + m.path
		p.Want, p.Got = "its "+k.c.Type+" tensors", "none"
		p.Cause = "the file was cut down or merged from parts, or the adapter was trained on a model without these modules; PEFT starts them anew, with no effect, after one warning"
		if layers := k.layersWithout(m.path); layers != "" {
			p.Cause = "the file holds nothing for " + layers + " of the base: the adapter was trained on a model with fewer layers, or its last part is lost"
		}
		p.Fix = "save the adapter again, or check it against the base that it was trained on"
		k.res.Report.Add(p)
		return
	}
	for _, w := range absent {
		p := problem(diag.AdapterTensorMissing, nil, "%s.%s is missing: want %s", diag.Name(m.path), w.key, dimsString(w.shape))
		p.Tensor = modelPrefix + m.path + "." + w.key
		p.Want, p.Got = dimsString(w.shape), "absent"
		p.Cause = "the file was cut down or damaged; PEFT starts the tensor anew after one warning"
		p.Fix = "save the adapter again from the training checkpoint"
		if w.key == "lora_magnitude_vector" {
			p.Cause = "use_dora is true, so each module has a magnitude; PEFT would take the norm of the base's weight instead"
		}
		k.res.Report.Add(p)
	}
}

// noTensors reports a file that holds no tensor.
func (k *check) noTensors() bool {
	if len(k.entries) > 0 {
		return false
	}
	p := problem(diag.AdapterNoTensors, nil, "%s holds no tensors at all", WeightsFile)
	p.Want, p.Got = "the adapter's tensors", "none"
	p.Cause = "it was saved from a process that held no part of the adapter (ZeRO-3, FSDP), or with an empty state_dict; PEFT loads it and changes nothing"
	p.Fix = "save again from the process that has the weights, after gathering them"
	k.res.Report.Add(p)
	return true
}

// dtypes reports empty tensors and integers.
func (k *check) dtypes() {
	empty := 0
	for _, e := range k.entries {
		if isEmpty(e.info) {
			empty++
		}
	}
	for _, e := range k.entries {
		t := e.info
		switch {
		case isEmpty(t):
			p := problem(diag.AdapterEmpty, e, "%s has shape %s: it holds nothing (so do %d of %d tensors)", diag.Name(t.Name), shapeString(t.Shape), empty, len(k.entries))
			p.Want, p.Got = "the whole tensor", shapeString(t.Shape)
			p.Cause = "saved under DeepSpeed ZeRO-3 (or FSDP) without gathering: each process held a part, and the file got the empty placeholders"
			p.Fix = "take the weights from the checkpoint's global_step directory (safeckpt merge-zero DIR OUT), or save again with stage3_gather_16bit_weights_on_model_save: true"
			k.res.Report.Add(p)
		case !isFloat(t.DType) && !isInteger(e):
			p := problem(diag.AdapterDType, e, "%s is %s, want a float type", diag.Name(t.Name), t.DType)
			p.Want, p.Got = "F32, BF16 or F16", t.DType.String()
			p.Cause = "the adapter was quantized and its scales are lost; PEFT casts the integers to floats as they are"
			p.Fix = "use the adapter as it was before quantization"
			k.res.Report.Add(p)
		}
	}
}

func isFloat(d safetensors.DType) bool {
	switch d {
	case safetensors.F16, safetensors.BF16, safetensors.F32, safetensors.F64,
		safetensors.F8_E4M3, safetensors.F8_E5M2, safetensors.F8_E4M3FNUZ, safetensors.F8_E5M2FNUZ:
		return true
	}
	return false
}

// isInteger reports whether a tensor rightly holds integers: batch norms count
// batches, SHiRA stores positions.
func isInteger(e *entry) bool {
	return strings.HasSuffix(e.name, ".num_batches_tracked") || strings.Contains(e.name, "indices") || e.key == "" && !strings.Contains(e.name, "lora_")
}

func (k *check) notHeld() {
	if k.c.Type == "" {
		return // said already
	}
	p := diag.New(diag.AdapterNotHeld, "adapters of type %s are known by name only: %d tensors were not held against the config", k.c.Type, len(k.entries))
	p.File = WeightsFile
	k.res.Report.Add(p)
}

// layersWithout says which layer of the base the file holds nothing for, if the
// module belongs to such a one; else "".
func (k *check) layersWithout(path string) string {
	stem, layer, _, ok := cutLayer(path)
	if !ok {
		return ""
	}
	if k.layers == nil {
		k.layers = make(map[layerID]bool)
		for m := range k.modules {
			if s, l, _, ok := cutLayer(m); ok {
				k.layers[layerID{s, l}] = true
			}
		}
	}
	if k.layers[layerID{stem, layer}] {
		return ""
	}
	return fmt.Sprintf("layer %d of %s", layer, diag.Name(stem))
}
