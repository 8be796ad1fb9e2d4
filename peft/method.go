package peft

import "slices"

// A method is what Check knows of one PEFT type.
type method struct {
	// prefix begins the part of a tensor's name that follows the module's.
	prefix string
	// takes says which kinds of modules the method can go onto; the first is what a
	// module is taken for where no base tells.
	takes []kind
	// rank is the field that gives a module its size, which patterns can change.
	rank number
	// alpha is the field that the scaling comes from, if there is one.
	alpha number
	// options are further fields that shapes depend on, with PEFT's defaults; a flag
	// is 0 or 1.
	options map[string]int
	// read takes from the config what is no number, and says what PEFT refuses. It
	// may be nil.
	read func(c *Config)

	// wants returns the tensors of one adapted module.
	wants func(l *layer) []want
	// shared returns the tensors that stand outside of modules, as those of all
	// layers. It may be nil.
	shared func(c *Config, layers []layer) []want
	// prompt returns the tensors of a method that adapts no modules; nil for others.
	prompt func(c *Config) []want
	// targets finds the modules where target_modules does not; it may be nil.
	targets func(k *check)
	// idle are the tensors of a module that are zero before training, so that the
	// module changes nothing.
	idle []string
	// extra says of a tensor of the method that wants does not name whether it may
	// be there nevertheless. It may be nil.
	extra func(c *Config, key string) bool
}

// A number is a field of the config that holds one.
type number struct {
	field   string
	absent  int    // PEFT's default
	least   int    // PEFT refuses less
	pattern string // the field with other values for single modules, "" if there is none
	form    string // of such a key as a regular expression, "" means patternForm
}

// word is what the number is called in messages.
func (n number) word() string {
	if n.field == "r" || n.field == "init_r" {
		return "rank"
	}
	return n.field
}

// methods is the table of PEFT types whose tensors are known. Types that are in
// fieldsOf but not here are listed, not held against their config.
var methods = map[string]*method{
	"ADALORA":                 &adalora,
	"ADAPTION_PROMPT":         &adaptionPrompt,
	"BOFT":                    &boft,
	"C3A":                     &c3a,
	"CPT":                     &cpt,
	"DELORA":                  &delora,
	"FOURIERFT":               &fourierFT,
	"GRALORA":                 &gralora,
	"HIRA":                    &hira,
	"HRA":                     &hra,
	"IA3":                     &ia3,
	"LN_TUNING":               &lnTuning,
	"LOHA":                    &loha,
	"LOKR":                    &lokr,
	"LORA":                    &lora,
	"MISS":                    &miss,
	"MULTITASK_PROMPT_TUNING": &multitask,
	"OFT":                     &oft,
	"POLY":                    &poly,
	"PREFIX_TUNING":           &prefixTuning,
	"PROMPT_TUNING":           &promptTuning,
	"P_TUNING":                &promptTuning,
	"RANDLORA":                &randlora,
	"ROAD":                    &road,
	"SHIRA":                   &shira,
	"TRAINABLE_TOKENS":        &trainableTokens,
	"VBLORA":                  &vblora,
	"VERA":                    &vera,
	"WAVEFT":                  &waveFT,
}

// Types returns the PEFT types that are known by name, sorted. Follows peft
// 0.21.2 utils/peft_types.py.
func Types() []string { return sortedKeys(fieldsOf) }

// Checked returns the PEFT types whose tensors Check holds against the config,
// sorted.
func Checked() []string { return sortedKeys(methods) }

// accepts reports whether the method can go onto a module of that kind. A weight
// of two dimensions whose class is not known may be what it takes.
func (m *method) accepts(k kind) bool {
	return slices.Contains(m.takes, k) || k == matrix && (m.takesAny(linear, conv1d, embedding))
}

func (m *method) takesAny(kinds ...kind) bool {
	return slices.ContainsFunc(kinds, func(k kind) bool { return slices.Contains(m.takes, k) })
}

// A layer is a module that a method goes onto, as its wants sees it.
type layer struct {
	module
	name string // what patterns are held against; of a parameter its full name
	c    *Config
	rank int
	// have gives the shape of a tensor of the module that the file holds, or nil.
	have func(key string) []uint64
	// own gives the shape of a tensor of the module that the base holds, or nil. It
	// is nil where there is no base.
	own func(name string) []uint64
	// feedforward says whether feedforward_modules selects the module.
	feedforward bool
}

func (l *layer) option(field string) uint64 { return uint64(l.c.options[field]) }

func (l *layer) flag(field string) bool { return l.c.options[field] != 0 }

// r is the rank as a dimension.
func (l *layer) r() dim {
	d := size(uint64(max(l.rank, 0)), "r")
	d.rank = true
	return d
}

func (l *layer) input() dim { return size(l.in, "in") }

func (l *layer) output() dim { return size(l.out, "out") }

// known reports whether the base gives the module's sizes.
func (l *layer) known() bool { return l.in > 0 && l.out > 0 }

// kernel is the number of elements in a convolution's kernel, 1 for others.
func (l *layer) kernel() uint64 {
	n := uint64(1)
	if l.kind == conv && len(l.shape) > 2 {
		for _, k := range l.shape[2:] {
			n *= k
		}
	}
	return n
}

// folded is the input of a linear map that stands for a convolution.
func (l *layer) folded() dim { return size(l.in*l.kernel(), "in") }

// over is a size divided into parts.
func over(n, parts uint64, sym string) dim {
	if n == 0 || parts == 0 {
		return dim{sym: sym}
	}
	return fixed(n / parts)
}

// pair returns what most methods want: A [r,in] and B [out,r].
func (l *layer) pair(a, b string) []want {
	return []want{{key: a, shape: []dim{l.r(), l.input()}}, {key: b, shape: []dim{l.output(), l.r()}}}
}
