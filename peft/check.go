package peft

import (
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// A check holds one adapter against its config and a base.
type check struct {
	c          *Config
	method     *method // nil if the type is known by name only
	base       *Base   // nil if there is none
	view       *view   // of the base; without a base, of the file itself
	match      *matcher
	entries    []*entry
	modules    map[string]map[string]*entry // of the method's tensors: by module, by key
	shared     map[string]*entry            // those outside of modules
	adapted    []layer                      // the modules that the config selects
	used       map[*entry]bool              // accounted for
	mayBeEmpty map[*entry]bool
	foreign    *bool             // see strangers
	onExperts  *bool             // see hasExperts
	unsure     bool              // some names could not be held against the base
	layers     map[layerID]bool  // that the file holds something for
	absent     map[string]string // by stack: the layers that it holds nothing for, in words
	depth      map[string]int    // of the base: the highest layer of each stack
	res        *Result
}

// Check holds an adapter against its config and, if base is not nil, against
// the model that it is meant for. Without a base it says what config and file
// alone can tell. It reads no values; see CheckValues.
func Check(a *Adapter, base *Base) *Result { return newCheck(a, base).res }

// newCheck is Check, for those who need to know which tensor goes where.
func newCheck(a *Adapter, base *Base) *check {
	k := &check{c: a.Config, base: base, modules: make(map[string]map[string]*entry), shared: make(map[string]*entry), used: make(map[*entry]bool), mayBeEmpty: make(map[*entry]bool), res: &Result{}}
	k.res.Report.Merge("", a.Config.Report())
	k.method = methods[k.c.Type]
	k.read(a.Tensors)
	if k.noTensors() {
		return k
	}
	k.dtypes()
	switch {
	case k.method == nil:
		k.notHeld()
	case k.method.prompt != nil:
		k.res.Expected = true
		k.prompt()
	default:
		k.res.Expected = true
		k.layered()
	}
	k.empties()
	return k
}

// layered holds an adapter that goes onto modules of the base.
func (k *check) layered() {
	k.prefixes()
	k.adapterNames()
	if k.base != nil {
		k.res.Based = true
		if !k.findView() {
			return
		}
	} else {
		k.view = k.viewOfFile()
	}
	k.inferTargets()
	k.match = newMatcher(k.c)
	if k.method.targets != nil {
		k.method.targets(k)
	} else {
		k.targets()
	}
	k.parameters()
	k.experts()
	k.sharedTensors()
	k.savedModules()
	k.tokenRows()
	k.biases()
	k.leftovers()
	k.targetEntries()
	k.patternKeys()
	k.evenLayers()
	k.baseName()
	k.res.Report.Add(k.match.problems...)
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
		switch {
		case e.isShared():
			of = k.shared
		case of == nil:
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
		if outer, ok := strings.CutSuffix(path, ".base_layer.out_proj"); ok && k.modules[outer] != nil {
			v.modules[v.byPath[outer]].kind = attention
			continue
		}
		if strings.HasSuffix(path, ".base_layer") {
			continue // of nested parameters, see parameters
		}
		v.add(module{path: path, kind: k.method.kindOf(k.modules[path])})
	}
	return v
}

// kindOf tells a module's kind by its tensors: those of embeddings say so in
// their names, those of convolutions have more than two dimensions.
func (m *method) kindOf(of map[string]*entry) kind {
	for key, e := range of {
		switch {
		case strings.Contains(key, "_embedding_") && slices.Contains(m.takes, embedding):
			return embedding
		case len(e.info.Shape) > 2 && slices.Contains(m.takes, conv):
			return conv
		}
	}
	return m.takes[0]
}

// rank returns the rank of a module, the pattern that it comes from ("" for r)
// and its alpha.
func (k *check) rank(name string) (rank int, key string, alpha float64) {
	rank, alpha = k.c.Rank, k.c.Alpha
	if n, ok := k.c.ranks[name]; ok {
		return n, name, alpha
	}
	if hits := k.match.pick(k.c.RankPattern, name); len(hits) > 0 {
		p := k.c.RankPattern[hits[0]]
		rank, key = int(p.Value), p.Key
	}
	if hits := k.match.pick(k.c.AlphaPattern, name); len(hits) > 0 {
		alpha = k.c.AlphaPattern[hits[0]].Value
	}
	return rank, key, alpha
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
		have, complete := k.part(&part, name, rank, key)
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
// adapter of a tied output embedding is that of the input embedding, and single
// experts on disk may be one parameter in memory, which is no target.
func (k *check) mayLack(m *module) bool {
	return k.c.TieWeights && outputEmbeddings[lastPart(m.path)] || k.base != nil && !k.base.certain && isExpert(m.path) && !k.hasExperts()
}

// part holds the tensors of one layer against what the method wants. name is what
// patterns are held against.
func (k *check) part(m *module, name string, rank int, key string) (have int, complete bool) {
	of := k.modules[m.path]
	if m.kind == matrix {
		m = k.resolve(m, rank, of)
	}
	l := k.layer(m, rank, of)
	l.name = name
	k.adapted = append(k.adapted, l)
	for key, e := range of {
		if k.method.extra != nil && k.method.extra(k.c, key) {
			k.used[e] = true
		}
	}
	return k.hold(m, k.method.wants(&l), of, rank, key)
}

func (k *check) layer(m *module, rank int, of map[string]*entry) layer {
	l := layer{module: *m, c: k.c, rank: rank, feedforward: k.match.feedforwardModule(m.path)}
	l.have = func(key string) []uint64 {
		if e := of[key]; e != nil {
			return e.info.Shape
		}
		return nil
	}
	if k.base != nil {
		l.own = func(name string) []uint64 { return k.view.tensors[m.path+"."+name] }
	}
	return l
}

// hold holds tensors, of by their keys, against the wanted ones.
func (k *check) hold(m *module, wants []want, of map[string]*entry, rank int, key string) (have int, complete bool) {
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
		switch {
		case isEmpty(e.info) && !w.mayBeEmpty(e.info.Shape):
			empty = true
		case !fits(w.shape, e.info.Shape, bound):
			wrong = append(wrong, mismatch{e, bindAll(w.shape, bound)})
		case isEmpty(e.info):
			k.mayBeEmpty[e] = true
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

// adapterRoot is the module that the tensors outside of layers belong to.
const adapterRoot = "base_model"

// sharedTensors holds the tensors that stand outside of modules against the file.
func (k *check) sharedTensors() {
	if k.method.shared == nil {
		return
	}
	k.hold(&module{path: adapterRoot}, k.method.shared(k.c, k.adapted), k.shared, k.c.Rank, "")
}

// resolve decides what a 2-d weight of unknown class is by the tensors that are
// there for it.
func (k *check) resolve(m *module, rank int, of map[string]*entry) *module {
	as := func(kd kind, in, out uint64) *module { return &module{m.path, kd, in, out, m.shape} }
	if !k.method.takesAny(linear, conv1d) || k.method.kindOf(of) == embedding {
		return as(embedding, m.shape[0], m.shape[1])
	}
	straight, turned := as(linear, m.in, m.out), as(conv1d, m.out, m.in)
	if !slices.Contains(k.method.takes, conv1d) {
		return straight
	}
	for _, candidate := range []*module{straight, turned} {
		ok := true
		bound := make(map[string]uint64)
		l := k.layer(candidate, rank, of)
		for _, w := range k.method.wants(&l) {
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
