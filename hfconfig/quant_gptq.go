package hfconfig

import (
	"maps"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/safetensors"
)

// gptq is what AutoGPTQ 0.7 and GPTQModel 7 write: QuantLinear, format gptq or
// gptq_v2. Only the layers are quantized, by default.
func gptq(s settings) (*quantization, error) {
	switch s.text("checkpoint_format", s.text("format", "gptq")) {
	case "gptq", "gptq_v2":
	default: // marlin, bitblas and others are laid out for their kernels
		return &quantization{}, nil
	}
	p, err := newPacking(s)
	if err != nil {
		return nil, err
	}
	rules, err := s.dynamic(p)
	if err != nil {
		return nil, err
	}
	only, err := s.inBlock()
	if err != nil {
		return nil, err
	}
	head := s.flag("lm_head")
	ordered := s.flag("desc_act")
	q := &quantization{conv1d: true}
	q.exempt = func(m *linearMap) bool {
		switch {
		case !m.called(inList):
			return !head || !m.called(func(name string) bool { return strings.HasSuffix(name, "lm_head") })
		case len(only) > 0 && !m.called(func(name string) bool { return hasEnd(name, only) }):
			return true
		}
		_, skip := rules.find(m)
		return skip
	}
	q.linear = func(m *linearMap) []stored {
		p := p
		if other, _ := rules.find(m); other != nil {
			p = *other
		}
		groups := p.groups(m.in)
		return []stored{
			{suffix: ".qweight", shape: []uint64{m.in / 32 * p.bits, m.out}, dtypes: int32s, elements: m.out * m.in},
			{suffix: ".qzeros", shape: []uint64{groups, m.out / 32 * p.bits}, dtypes: int32s},
			{suffix: ".scales", shape: []uint64{groups, m.out}},
			{suffix: ".g_idx", shape: []uint64{m.in}, dtypes: int32s, optional: !ordered}, // otherwise in order
			{suffix: ".bias", shape: []uint64{m.out}, optional: true},                     // old versions write one of zeros
		}
	}
	return q, nil
}

var int32s = []safetensors.DType{safetensors.I32}

// A packing is how many bits a value has and how many of them share a scale.
type packing struct{ bits, group uint64 } // group 0: all of a row

func newPacking(s settings) (packing, error) {
	bits, err := s.size("bits", 4, 2, 8)
	if err != nil {
		return packing{}, err
	}
	group, err := s.size("group_size", 128, -1, maxDim)
	if err == nil && group == 0 {
		err = s.bad("group_size", "-1 or more than 0")
	}
	return packing{uint64(bits), uint64(max(group, 0))}, err
}

func (p packing) groups(in uint64) uint64 {
	if p.group == 0 {
		return min(in, 1)
	}
	return ceil(in, p.group)
}

// inBlock returns the ends of the names that modules_in_block_to_quantize lists.
func (s settings) inBlock() ([]string, error) {
	var out []string
	lists, _ := s.object["modules_in_block_to_quantize"].([]any)
	for _, x := range lists {
		inner, ok := x.([]any)
		if !ok {
			inner = []any{x}
		}
		for _, v := range inner {
			t, ok := v.(string)
			if !ok {
				return nil, s.bad("modules_in_block_to_quantize", "lists of strings")
			}
			out = append(out, t)
		}
	}
	return out, nil
}

// hasEnd reports whether a name ends with one of those modules.
func hasEnd(name string, ends []string) bool {
	for _, end := range ends {
		if name == end || strings.HasSuffix(name, "."+end) {
			return true
		}
	}
	return false
}

// dynamicRules are GPTQModel's exceptions by regular expression.
type dynamicRules []struct {
	pattern nameRegexp
	packing *packing // nil: not quantized
}

func (s settings) dynamic(usual packing) (dynamicRules, error) {
	object, _ := s.object["dynamic"].(map[string]any)
	if len(object) > maxRegexps {
		return nil, s.bad("dynamic", "fewer rules")
	}
	var out dynamicRules
	for _, pattern := range slices.Sorted(maps.Keys(object)) {
		text, skip := strings.CutPrefix(pattern, "-:")
		x, err := s.regexp("dynamic", strings.TrimPrefix(text, "+:"))
		if err != nil {
			return nil, err
		}
		var p *packing
		if !skip {
			inner, _ := object[pattern].(map[string]any)
			merged := map[string]any{"bits": int64(usual.bits)}
			for _, key := range []string{"bits", "group_size"} {
				merged[key] = s.object[key]
				if x, given := inner[key]; given {
					merged[key] = x
				}
			}
			changed, err := newPacking(settings{merged, s.path + "dynamic.", s.clock})
			if err != nil {
				return nil, err
			}
			p = &changed
		}
		out = append(out, struct {
			pattern nameRegexp
			packing *packing
		}{x, p})
	}
	return out, nil
}

// find returns how a module is packed; skip: not at all.
func (r dynamicRules) find(m *linearMap) (p *packing, skip bool) {
	for _, rule := range r {
		if m.called(rule.pattern.match) {
			if rule.packing == nil {
				return nil, true
			}
			p = rule.packing
		}
	}
	return p, false
}

// autoRound is written in the form of another method.
func autoRound(s settings) (*quantization, error) {
	switch form := s.text("packing_format", "auto_round:auto_gptq"); {
	case strings.Contains(form, "gptq"):
		return gptq(s.without("format", "checkpoint_format"))
	case strings.Contains(form, "awq"):
		return awq(s.without("version", "format"))
	}
	return &quantization{}, nil
}

func (s settings) without(keys ...string) settings {
	object := maps.Clone(s.object)
	for _, k := range keys {
		delete(object, k)
	}
	return settings{object, s.path, s.clock}
}
