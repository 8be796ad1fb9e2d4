package hfconfig

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// compressedTensors is what llm-compressor writes: package compressed-tensors
// 0.20, whose own compression was held against this. Sparse formats and
// marlin-24 are not known.
func compressedTensors(s settings) (*quantization, error) {
	groups, ok := s.object["config_groups"].(map[string]any)
	if !ok {
		return &quantization{}, nil
	}
	if len(groups) > maxRegexps {
		return nil, s.bad("config_groups", "fewer groups")
	}
	var schemes []*scheme
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		g, ok := groups[name].(map[string]any)
		if !ok {
			return nil, s.bad("config_groups", "objects")
		}
		sub := settings{g, s.path + "config_groups." + diag.Name(name) + ".", s.clock}
		x, err := newScheme(sub, s.text("format", ""))
		if err != nil {
			return nil, err
		}
		if x.form == nil {
			return &quantization{}, nil
		}
		schemes = append(schemes, x)
	}
	ignore, _, err := s.strings("ignore")
	if err != nil {
		return nil, err
	}
	skip, err := s.targets("ignore", ignore)
	if err != nil {
		return nil, err
	}
	if len(schemes) == 0 {
		return &quantization{}, nil
	}
	find := func(m *linearMap) *scheme {
		var best *scheme
		how := 0
		for _, x := range schemes {
			if n := x.targets.match(m); n > how {
				best, how = x, n
			}
		}
		return best
	}
	q := &quantization{}
	q.exempt = func(m *linearMap) bool {
		x := find(m)
		return x == nil || skip.match(m) > 0
	}
	q.linear = func(m *linearMap) []stored {
		if x := cmp.Or(find(m), schemes[0]); x.weights != nil { // of what is exempt, too: it may be quantized nevertheless
			return x.stored(m)
		}
		return nil
	}
	if s.object["kv_cache_scheme"] != nil {
		q.besides = kvScales
	}
	return q, nil
}

var kvScales = regexp.MustCompile(`\.(k|v|q)_(scale|zero_point|global_scale)$|\.(k|v)_proj\.output_(scale|zero_point)$`)

// targets are names of modules, regular expressions, and classes.
type targets struct {
	names   map[string]bool
	regexps regexps
	linear  bool
}

func (s settings) targets(key string, list []string) (*targets, error) {
	t := &targets{names: make(map[string]bool)}
	for _, text := range list {
		pattern, regular := strings.CutPrefix(text, "re:")
		switch {
		case regular:
			if err := t.regexps.add(s, key, pattern); err != nil {
				return nil, err
			}
		case text == "Linear":
			t.linear = true
		default:
			t.names[text] = true
		}
	}
	return t, nil
}

// match returns how narrowly a linear map is meant: 3 by name, 2 by a regular
// expression, 1 as one of all, 0 not at all.
func (t *targets) match(m *linearMap) int {
	switch {
	case m.called(func(name string) bool { return t.names[name] }):
		return 3
	case m.called(t.regexps.match):
		return 2
	case t.linear:
		return 1
	}
	return 0
}

// A scheme is one of config_groups.
type scheme struct {
	targets       *targets
	form          func(x *scheme, m *linearMap) []stored // nil: not known
	weights       *tensorArgs                            // nil: only activations are quantized
	input, output *tensorArgs                            // nil: computed as the model runs, or not at all
}

// tensorArgs are compressed-tensors' QuantizationArgs.
type tensorArgs struct {
	bits, group uint64
	strategy    string
	block       [2]uint64
	float       bool
	symmetric   bool
	local       bool // scales are computed as the model runs, but for a global one
	ordered     bool // by activation, group by group
}

func newScheme(s settings, format string) (*scheme, error) {
	x := &scheme{}
	list, _, err := s.strings("targets")
	if err != nil {
		return nil, err
	}
	if x.targets, err = s.targets("targets", list); err != nil {
		return nil, err
	}
	for key, to := range map[string]**tensorArgs{"weights": &x.weights, "input_activations": &x.input, "output_activations": &x.output} {
		if *to, err = s.tensorArgs(key); err != nil {
			return nil, err
		}
	}
	x.form = compressedForms[s.text("format", format)]
	return x, nil
}

func (s settings) tensorArgs(key string) (*tensorArgs, error) {
	object, ok := s.object[key].(map[string]any)
	if !ok {
		if s.object[key] != nil {
			return nil, s.bad(key, "an object")
		}
		return nil, nil
	}
	in := settings{object, s.path + key + ".", s.clock}
	if in.object["dynamic"] == true {
		return nil, nil
	}
	a := &tensorArgs{
		float: in.text("type", "int") == "float", symmetric: in.object["symmetric"] != false,
		local: in.text("dynamic", "") == "local", ordered: in.text("actorder", "") == "group",
	}
	bits, err := in.size("num_bits", 8, 1, 16)
	if err != nil {
		return nil, err
	}
	group, err := in.size("group_size", 0, -1, maxDim)
	if err != nil {
		return nil, err
	}
	a.bits, a.group = uint64(bits), uint64(max(group, 0))
	usual := "tensor"
	if group > 0 {
		usual = "group"
	} else if group < 0 {
		usual = "channel"
	}
	a.strategy = in.text("strategy", usual)
	if list, ok := in.object["block_structure"].([]any); ok && len(list) == 2 {
		for i, v := range list {
			if n := jsonValue(v); n.kind == kindInt && n.i > 0 && n.i <= maxDim {
				a.block[i] = uint64(n.i)
			}
		}
	}
	switch {
	case (a.strategy == "group" || a.strategy == "tensor_group") && a.group == 0:
		return nil, in.bad("group_size", "a whole number above 0 for strategy "+a.strategy)
	case a.strategy == "block" && (a.block[0] == 0 || a.block[1] == 0):
		return nil, in.bad("block_structure", "two whole numbers above 0")
	}
	return a, nil
}

// scale is the shape of the scales of a tensor [rows, columns].
func (a *tensorArgs) scale(rows, columns uint64) []uint64 {
	switch a.strategy {
	case "channel":
		return []uint64{rows, 1}
	case "group", "tensor_group":
		return []uint64{rows, ceil(columns, a.group)}
	case "block":
		return []uint64{ceil(rows, a.block[0]), ceil(columns, a.block[1])}
	default:
		return []uint64{1}
	}
}

func (x *scheme) stored(m *linearMap) []stored {
	out := x.form(x, m)
	for name, a := range map[string]*tensorArgs{".input": x.input, ".output": x.output} {
		if a == nil {
			continue
		}
		if a.strategy == "tensor_group" {
			out = append(out, stored{suffix: name + "_global_scale", shape: []uint64{1}})
		}
		if !a.local {
			out = append(out, stored{suffix: name + "_scale", shape: []uint64{1}})
			out = append(out, stored{suffix: name + "_zero_point", shape: []uint64{1}, dtypes: zeroPoints, optional: a.symmetric})
		}
	}
	slices.SortFunc(out, func(a, b stored) int { return strings.Compare(a.suffix, b.suffix) })
	return out
}

var (
	zeroPoints = []safetensors.DType{safetensors.I8, safetensors.U8, safetensors.I32, safetensors.F8_E4M3, safetensors.F16, safetensors.BF16, safetensors.F32}
	exponents  = []safetensors.DType{safetensors.U8, safetensors.F8_E8M0}
	bytes8     = []safetensors.DType{safetensors.U8}
)

// compressedForms are the ways of writing a weight, by the name of the format.
var compressedForms = map[string]func(x *scheme, m *linearMap) []stored{
	"pack-quantized":       packed32,
	"int-quantized":        unpacked,
	"float-quantized":      unpacked,
	"naive-quantized":      unpacked,
	"mxfp8-quantized":      packedFloats(1, 1, exponents),
	"mxfp6-pack-quantized": packedFloats(3, 4, exponents),
	"mxfp4-pack-quantized": packedFloats(1, 2, exponents),
	"nvfp4-pack-quantized": packedFloats(1, 2, []safetensors.DType{safetensors.F8_E4M3}),
}

// packed32 packs integers of few bits into int32.
func packed32(x *scheme, m *linearMap) []stored {
	w := x.weights
	scale := w.scale(m.out, m.in)
	out := []stored{
		{suffix: ".weight_packed", shape: []uint64{m.out, ceil(m.in*w.bits, 32)}, dtypes: int32s, elements: m.out * m.in},
		{suffix: ".weight_scale", shape: scale},
		{suffix: ".weight_shape", shape: []uint64{2}, dtypes: []safetensors.DType{safetensors.I64, safetensors.I32}},
	}
	if !w.symmetric {
		zeros := scale
		if w.strategy == "group" || w.strategy == "channel" {
			zeros = []uint64{ceil(m.out*w.bits, 32), scale[1]}
		}
		out = append(out, stored{suffix: ".weight_zero_point", shape: zeros, dtypes: zeroPoints})
	}
	if w.ordered { // up to compressed-tensors 0.14
		out = append(out, stored{suffix: ".weight_g_idx", shape: []uint64{m.in}, dtypes: int32s, optional: true})
	}
	return out
}

// unpacked keeps one element for each of the weight.
func unpacked(x *scheme, m *linearMap) []stored {
	w := x.weights
	dtype := safetensors.I8
	if w.float {
		dtype = safetensors.F8_E4M3
	}
	return []stored{
		{suffix: ".weight", shape: []uint64{m.out, m.in}, dtypes: []safetensors.DType{dtype}, elements: m.out * m.in},
		{suffix: ".weight_scale", shape: w.scale(m.out, m.in)},
		{suffix: ".weight_zero_point", shape: w.scale(m.out, m.in), dtypes: zeroPoints, optional: w.symmetric},
	}
}

// packedFloats packs floats of few bits into bytes, so many bytes for so many
// values.
func packedFloats(bytes, values uint64, scales []safetensors.DType) func(x *scheme, m *linearMap) []stored {
	return func(x *scheme, m *linearMap) []stored {
		weight := stored{suffix: ".weight_packed", shape: []uint64{m.out, m.in * bytes / values}, dtypes: bytes8, elements: m.out * m.in}
		if bytes == values {
			weight.suffix, weight.dtypes = ".weight", []safetensors.DType{safetensors.F8_E4M3}
		}
		out := []stored{weight, {suffix: ".weight_scale", shape: x.weights.scale(m.out, m.in), dtypes: scales}}
		if x.weights.strategy == "tensor_group" {
			out = append(out, stored{suffix: ".weight_global_scale", shape: []uint64{1}})
		}
		return out
	}
}
