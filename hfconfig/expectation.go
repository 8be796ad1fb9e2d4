package hfconfig

import (
	"iter"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// A Tensor is one tensor that a checkpoint of the model holds.
type Tensor struct {
	Name  string
	Shape []uint64 // outermost first; shared with other tensors, not to be modified; nil if any will do
}

// An Expectation is what a checkpoint holds that fits a config. It is immutable;
// any number of goroutines may use it.
type Expectation struct {
	// ModelType is the schema's name of the model_type.
	ModelType string
	// Architecture is the class whose tensors these are, under its present name.
	Architecture string
	// Partial says that only the base model is known: config.json names no class in
	// architectures, or one that the schema does not have. There may be a head
	// besides, of which nothing is said.
	Partial bool
	// Quantization is the quant_method that stores the weights of linear maps in
	// another form, "" if there is none. Tensors are those of the checkpoint;
	// modules and parameters those of the model before it was quantized.
	Quantization string
	// QuantizationKnown says whether that form is known. If not, such weights are
	// optional, and what stands for them is not judged.
	QuantizationKnown bool

	plan     *plan
	limit    int // of tensors
	model    *model
	class    *class
	config   *Config
	registry *Registry
}

// ExpectOptions configures Expect. Nil means defaults.
type ExpectOptions struct {
	// Class is the class to expect instead of architectures[0].
	Class string
	// MaxTensors is how many tensors, or modules in all layouts together, a config
	// may lead to; 0 means 250,000. The largest model known has about 75,000, expert
	// by expert. No more than 2,000,000 are ever allowed.
	MaxTensors int
}

func (o *ExpectOptions) maxTensors() int {
	if o == nil || o.MaxTensors == 0 {
		return defaultMaxTensors
	}
	return min(o.MaxTensors, maxTensors)
}

// Expect returns what a checkpoint of this config holds. The error matches
// ErrUnknownModel if the model is not known; any other error
// says that the config is bad, and is a *ConfigError where one key is at fault.
// Time and memory are bounded, whatever the config says.
func (r *Registry) Expect(c *Config, o *ExpectOptions) (*Expectation, error) {
	m, err := r.model(c.ModelType())
	if err != nil {
		return nil, err
	}
	x := &Expectation{ModelType: m.name, Quantization: c.Quantization(), model: m, config: c, registry: r, limit: o.maxTensors()}
	name := ""
	if a := c.Architectures(); len(a) > 0 {
		name = a[0]
	}
	if o != nil && o.Class != "" {
		name = o.Class
	}
	if x.class = m.class(name); x.class == nil {
		if x.class, x.Partial = m.role("base"), true; x.class == nil {
			return nil, &UnknownError{m.name, "class " + diag.Name(name) + " is not known"}
		}
	}
	x.Architecture = x.class.name
	if x.plan, err = x.bind(x.class); err != nil {
		return nil, err
	}
	x.QuantizationKnown = x.plan.quant != nil && x.plan.quant.linear != nil
	return x, nil
}

func (x *Expectation) bind(c *class) (*plan, error) {
	e := newEnv(x.registry, x.model, x.config.root, &frame{left: maxWork})
	if err := e.check(); err != nil {
		return nil, err
	}
	q, err := newQuantization(x.config)
	if err != nil {
		return nil, err
	}
	return bind(e, c, x.limit, q)
}

// Layouts returns the layouts that differ for this model: Save, and Native and
// Hub where they are not the same as another.
func (x *Expectation) Layouts() []Layout {
	out := []Layout{Save}
	for l := Native; l < layoutCount; l++ {
		if x.plan.distinct[l] {
			out = append(out, l)
		}
	}
	return out
}

// Len returns the number of tensors in layout Save.
func (x *Expectation) Len() int { return x.plan.count }

// Parameters returns the number of elements of all tensors, tied ones counted
// once. Saved buffers, such as those of batch norms, are counted too.
func (x *Expectation) Parameters() uint64 { return x.plan.elements }

// All returns the tensors that a checkpoint in the layout must hold, in the
// order of the schema.
func (x *Expectation) All(l Layout) iter.Seq[Tensor] {
	return func(yield func(Tensor) bool) {
		x.plan.each(l, func(t *emitted) bool {
			return t.optional() || yield(Tensor{string(t.name), t.shape})
		})
	}
}

// Tensors returns what All yields as a map from name to shape.
func (x *Expectation) Tensors(l Layout) map[string][]uint64 {
	type entry struct {
		end   int
		shape []uint64
	}
	// All names are cut from one string, which is most of the speed.
	entries := make([]entry, 0, x.plan.count)
	names := make([]byte, 0, 48*x.plan.count)
	x.plan.each(l, func(t *emitted) bool {
		if !t.optional() {
			names = append(names, t.name...)
			entries = append(entries, entry{len(names), t.shape})
		}
		return true
	})
	text, start := string(names), 0
	out := make(map[string][]uint64, len(entries))
	for _, e := range entries {
		out[text[start:e.end]] = e.shape
		start = e.end
	}
	return out
}

// Optional returns the tensors that a checkpoint may hold besides: copies of
// tied weights, and what the model's code ignores.
func (x *Expectation) Optional(l Layout) map[string][]uint64 {
	out := make(map[string][]uint64)
	x.plan.each(l, func(t *emitted) bool {
		if t.optional() {
			out[string(t.name)] = t.shape
		}
		return true
	})
	return out
}

// Tied returns the groups of tensors that are one weight, by their native names:
// first the one that is saved, then those that are left out, sorted. The groups
// are sorted too.
func (x *Expectation) Tied() [][]string {
	groups := make(map[string][]string)
	for target := range x.plan.ties {
		kept := x.plan.kept(target)
		groups[kept] = append(groups[kept], target)
	}
	var out [][]string
	for kept, dropped := range groups {
		slices.Sort(dropped)
		out = append(out, append([]string{kept}, dropped...))
	}
	slices.SortFunc(out, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	return out
}

// kept follows ties to the tensor that is saved.
func (p *plan) kept(target string) string {
	for range len(p.ties) {
		source, ok := p.ties[target]
		if !ok {
			break
		}
		target = source
	}
	return target
}
