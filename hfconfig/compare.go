package hfconfig

import (
	"cmp"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// CompareOptions configures Compare. Nil means defaults.
type CompareOptions struct {
	// VocabSize is the number of entries of the tokenizer that lies beside the
	// weights, 0 if it is not known. It only makes messages more exact.
	VocabSize uint64
	// Lost reports whether a name on disk stands in a file that cannot be read, as
	// an index knows. Such tensors are not reported missing. Nil means none.
	Lost func(name string) bool
}

// A Comparison is what Compare finds.
type Comparison struct {
	// Report holds all that is wrong or worth knowing, with likely causes.
	Report *diag.Report
	// Layout is the layout that the names are of.
	Layout Layout
	// Missing holds the tensors that the model needs and the checkpoint lacks, by
	// their names in memory (on disk, where no tensor in memory is the same one),
	// sorted. It is what from_pretrained reports as missing_keys.
	Missing []string
	// Unexpected holds the names on disk that the model has no place for, sorted.
	Unexpected []string
	// WrongShape holds the tensors of other shapes than the config leads to.
	WrongShape []Mismatch
	// Tolerated holds what is missing or there besides and is ignored by rule.
	Tolerated []Toleration
	// Copies holds the tied weights that are stored twice.
	Copies []Copy
}

// A Mismatch is a tensor of the wrong shape.
type Mismatch struct {
	Tensor    string // on disk
	Native    string // in memory, or the name on disk where there is none
	Want, Got []uint64
}

// A Toleration is a tensor that is ignored, and the reason.
type Toleration struct{ Tensor, Reason string }

// A Copy is a tied weight that a checkpoint holds twice: two names on disk.
type Copy struct{ Kept, Copy string }

// Compare holds the tensors of a checkpoint against the expectation. It accepts
// what from_pretrained accepts without a word, and also says what it passes over
// with a warning; only layouts must not be mixed. Names are those of all shards
// together; only headers are looked at.
func (x *Expectation) Compare(tensors iter.Seq[*safetensors.TensorInfo], o *CompareOptions) *Comparison {
	if o == nil {
		o = &CompareOptions{}
	}
	c := &comparing{
		Comparison: &Comparison{Report: &diag.Report{}},
		x:          x, o: o, held: collect(tensors), orphans: make(map[*entry][]string),
		ahead:     x.config.ahead(),
		mayMiss:   patterns(x.model.tolerate.missing, x.class.tolerate.missing),
		mayBeHere: patterns(x.model.tolerate.unexpected, x.class.tolerate.unexpected),
	}
	c.chooseLayout()
	c.shapes()
	c.ties()
	c.missing()
	c.unexpected()
	c.promisedAhead()
	c.explain()
	c.dtypes()
	c.quantization()
	c.quantizedDTypes()
	c.notes()
	return c.Comparison
}

type comparing struct {
	*Comparison
	x    *Expectation
	o    *CompareOptions
	held []*safetensors.TensorInfo

	mayMiss, mayBeHere *regexp.Regexp

	m       *match
	lacking []*entry                  // missing, before causes are found
	orphans map[*entry][]string       // missing with all that they are tied to
	foreign []*safetensors.TensorInfo // unexpected

	lists map[string]int  // how many elements each list of modules should have
	tops  map[string]bool // outermost parts of the model
	ahead ahead

	unjudged int // tensors of weights whose quantization is not known
}

// chooseLayout takes the layout that most names are of.
func (c *comparing) chooseLayout() {
	var all []*match
	for _, l := range c.x.Layouts() {
		m := c.x.plan.table(l, c.x.class.prefix, c.held).match(c.held)
		all = append(all, m)
		if c.m == nil || m.fits > c.m.fits {
			c.m = m
		}
	}
	c.Layout = c.m.layout
	for _, other := range all {
		if other != c.m && len(c.m.left) > 0 {
			c.mixture(other)
		}
	}
}

// mixture finds tensors that are named as in another layout than the rest. They
// are not missing besides.
func (c *comparing) mixture(other *match) {
	left := make(map[string]bool)
	for _, h := range c.m.left {
		left[h.Name] = true
	}
	theirs := make(map[string]*safetensors.TensorInfo) // by the name in memory
	var example string
	for i := range other.entries {
		if e := &other.entries[i]; e.held != nil && left[e.held.Name] {
			theirs[e.memory()] = e.held
			left[e.held.Name] = false
			example = cmp.Or(example, e.held.Name)
		}
	}
	if len(theirs) == 0 {
		return
	}
	ours := ""
	for i := range c.m.entries {
		e := &c.m.entries[i]
		if e.held == nil {
			e.held = theirs[e.memory()]
		} else if _, both := other.byName[e.name]; !both {
			ours = cmp.Or(ours, e.held.Name)
		}
	}
	c.m.left = slices.DeleteFunc(c.m.left, func(h *safetensors.TensorInfo) bool { return !left[h.Name] })
	ours = cmp.Or(ours, c.m.entries[0].name)
	p := diag.New(diag.LayoutsMixed, "%d of %d tensors are named as in layout %s (%s), the rest as in layout %s (%s)",
		len(theirs), len(c.held), other.layout, diag.Name(example), c.m.layout, diag.Name(ours))
	p.Tensor = example
	p.Want, p.Got = "one layout", c.m.layout.String()+" and "+other.layout.String()
	p.Cause = "files of two saves or two versions of the model were mixed in one directory"
	p.Fix = "delete the files of the one that is not meant, or save the model again into an empty directory"
	c.Report.Add(p)
}

// ties drops what is missing only because its other name is there, and notes
// what is stored twice.
func (c *comparing) ties() {
	byNative := make(map[string]*entry)
	groups := c.x.Tied()
	if len(groups) == 0 {
		return
	}
	for i := range c.m.entries {
		byNative[c.m.entries[i].native] = &c.m.entries[i]
	}
	for _, g := range groups {
		var first *entry
		var members []*entry
		lost := false
		for _, name := range g {
			e := byNative[name]
			if e == nil {
				continue
			}
			members = append(members, e)
			lost = lost || c.lost(e)
			if e.held == nil {
				continue
			}
			if first == nil {
				first = e
				continue
			}
			c.Copies = append(c.Copies, Copy{first.held.Name, e.held.Name})
			p := diag.New(diag.TiedTwice, "%s stands beside %s, to which the config ties it; whether they are equal was not read: %s",
				diag.Name(e.held.Name), diag.Name(first.held.Name), diag.Size(e.held.Bytes()))
			p.Tensor, p.Fix = e.held.Name, "compare the two with verify --values; save_pretrained writes it once"
			c.Report.Add(p)
		}
		switch {
		case lost:
		case first == nil: // from_pretrained lists them all
			for _, e := range members {
				e.optional = false
				c.orphans[e] = g
			}
		case first != members[0]:
			p := diag.New(diag.TiedTargetOnly, "%s stands for %s, to which the config ties it",
				diag.Name(first.held.Name), diag.Name(members[0].memory()))
			p.Tensor = first.held.Name
			c.Report.Add(p)
			members[0].optional = true
		}
	}
}

func (c *comparing) lost(e *entry) bool {
	return e.held == nil && c.o.Lost != nil && c.o.Lost(c.m.onDisk(e))
}

func (c *comparing) missing() {
	for i := range c.m.entries {
		e := &c.m.entries[i]
		switch {
		case e.held != nil || e.optional || c.lost(e):
		case c.mayMiss != nil && c.mayMiss.MatchString(e.memory()):
			c.Tolerated = append(c.Tolerated, Toleration{c.m.onDisk(e), "may be missing: the model's code sets it"})
		default:
			c.lacking = append(c.lacking, e)
			c.Missing = append(c.Missing, e.memory())
		}
	}
	slices.SortFunc(c.Missing, diag.CompareNames)
}

func (c *comparing) unexpected() {
	outside := func(name string) bool { // of the base model, by its prefix
		return c.x.Partial && (c.m.prefix == "" || !strings.HasPrefix(name, c.m.prefix))
	}
	for _, h := range c.m.left {
		switch {
		case c.mayBeHere != nil && c.mayBeHere.MatchString(h.Name):
			c.Tolerated = append(c.Tolerated, Toleration{h.Name, "ignored: the model's code computes it or leaves it out"})
		case c.unjudgedPart(h.Name):
			c.unjudged++
		case c.m.fitting != nil && c.x.plan.quant.besides != nil && c.x.plan.quant.besides.MatchString(h.Name):
			c.Tolerated = append(c.Tolerated, Toleration{h.Name, "a scale that the quantization keeps beside the weights"})
		case c.isAhead(h.Name):
			c.Tolerated = append(c.Tolerated, Toleration{h.Name, "ignored: config.json counts its layer for multi-token prediction (" + c.ahead.key + "), which transformers leaves out"})
		case outside(h.Name):
			c.Tolerated = append(c.Tolerated, Toleration{h.Name, "not judged: it may belong to a head that is not known"})
		default:
			c.foreign = append(c.foreign, h)
			c.Unexpected = append(c.Unexpected, h.Name)
		}
	}
	for _, h := range c.m.extra {
		c.foreign = append(c.foreign, h)
		c.Unexpected = append(c.Unexpected, h.Name)
	}
	slices.SortFunc(c.Unexpected, diag.CompareNames)
}

// notes says what was accepted though it is not as it should be.
func (c *comparing) notes() {
	note := func(n int, what string) {
		if n > 0 {
			c.Report.Add(diag.New(diag.NamesTranslated, "%d %s %s; from_pretrained translates them, other readers may not", n, plural(n, "name", "names"), what))
		}
	}
	note(c.m.how[prefixed], "without the prefix "+c.m.prefix+", as a base model writes them")
	if !c.x.Partial {
		note(c.m.how[stripped], "with the prefix "+c.m.prefix+", as a model with a head writes them")
	}
	note(c.m.how[legacy], "of older versions, such as LayerNorm.gamma or weight_g")
	for _, t := range c.Tolerated {
		p := diag.New(diag.TensorTolerated, "%s is %s", diag.Name(t.Tensor), t.Reason)
		p.Tensor = t.Tensor
		c.Report.Add(p)
	}
	if c.x.Partial {
		p := diag.New(diag.HeadUnknown, "only the base model %s was held against the config: %s", c.x.Architecture, c.x.partialReason())
		p.Fix = "name the class in architectures of config.json"
		c.Report.Add(p)
	}
}

func (x *Expectation) partialReason() string {
	if a := x.config.Architectures(); len(a) > 0 {
		return "class " + diag.Name(a[0]) + " is not known"
	}
	return "config.json names no class in architectures"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func shapeText(s []uint64) string {
	if s == nil {
		return "any shape"
	}
	return strings.ReplaceAll(fmt.Sprint(s), " ", ",")
}
