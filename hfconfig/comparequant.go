package hfconfig

import (
	"fmt"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// A fitting decides weight by weight whether a checkpoint holds it quantized.
// Lists of exceptions differ between tools and their versions, and loaders go by
// what is there.
type fitting struct {
	held   map[string]*safetensors.TensorInfo
	prefix string // of the base model, with its dot

	quantized int      // as the config says
	whole     []string // stored as they are though the config says otherwise
	extra     []string // quantized though the config says otherwise
}

func (p *plan) fitting(held []*safetensors.TensorInfo, prefix string) *fitting {
	if p.quant == nil {
		return nil
	}
	f := &fitting{held: make(map[string]*safetensors.TensorInfo, len(held)), prefix: prefix}
	for _, h := range held {
		f.held[h.Name] = h
	}
	return f
}

func (f *fitting) find(name string) *safetensors.TensorInfo {
	h := f.held[name]
	if h == nil && f.prefix != "" {
		if h = f.held[f.prefix+name]; h == nil && strings.HasPrefix(name, f.prefix) {
			h = f.held[name[len(f.prefix):]]
		}
	}
	return h
}

func (f *fitting) choose(w *weight) bool {
	path := string(w.path)
	h := f.find(path + w.plain)
	whole := h != nil && isWide(h.DType) && slices.Equal(h.Shape, w.shape)
	some, all := false, true
	for _, p := range w.parts {
		h := f.find(path + p.suffix)
		some = some || h != nil && !p.optional && p.suffix != w.plain
		all = all && (p.optional || h != nil && (p.shape == nil || slices.Equal(p.shape, h.Shape)))
	}
	switch {
	case w.rule && whole && !some:
		f.whole = append(f.whole, path)
		return false
	case w.rule:
		f.quantized++
		return true
	case all && some && w.either:
		return true
	case all && some:
		f.extra = append(f.extra, path)
		return true
	}
	return false
}

// isWide reports whether weights that are not quantized have this dtype.
func isWide(d safetensors.DType) bool {
	return d == safetensors.F64 || d == safetensors.F32 || d == safetensors.F16 || d == safetensors.BF16
}

// quantization says what is odd about how the weights are quantized.
func (c *comparing) quantization() {
	f := c.m.fitting
	if f == nil {
		return
	}
	method := diag.Name(c.x.Quantization)
	if !c.x.QuantizationKnown {
		p := diag.New(diag.QuantizationUnknown, "the weights of linear maps were not held against the config: how %s stores them is not known", method)
		p.Cause = fmt.Sprintf("quantization_config of config.json says %s; %d tensors belong to such weights", method, c.unjudged)
		c.Report.Add(p)
		return
	}
	total := f.quantized + len(f.whole)
	if len(f.whole) == total && total > 0 && len(f.extra) == 0 {
		p := diag.New(diag.QuantizationAbsent, "config.json says that the weights are quantized (%s), and none of them is: %s is %s", method,
			diag.Name(f.whole[0]), f.find(f.whole[0]+c.m.plain(f.whole[0])).DType)
		p.Want, p.Got = method, "weights as they were trained"
		p.Cause = "the weights were saved before they were quantized, or merged or restored after it, and config.json is that of the quantized model"
		p.Fix = "remove quantization_config from config.json, or take the weights that belong to it"
		c.Report.Add(p)
		return
	}
	if len(f.whole)+len(f.extra) == 0 {
		return
	}
	p := diag.New(diag.QuantizationOther, "%d of %d weights that config.json says are quantized are stored as they are, %d are quantized that it excepts: such as %s",
		len(f.whole), total, len(f.extra), diag.Name(append(f.whole, f.extra...)[0]))
	p.Cause = "tools except other modules than quantization_config lists; loaders that go by the file take it, others may not"
	c.Report.Add(p)
}

// quantizedDTypes reports parts of quantized weights that are of no type that
// the method uses.
func (c *comparing) quantizedDTypes() {
	for i := range c.m.entries {
		e := &c.m.entries[i]
		if !e.part || e.held == nil || len(e.dtypes) == 0 && e.held.DType.IsFloat() || slices.Contains(e.dtypes, e.held.DType) {
			continue
		}
		want := "a floating-point type"
		if len(e.dtypes) > 0 {
			want = e.dtypes[0].String()
		}
		p := diag.New(diag.QuantizedDType, "%s is stored as %s, want %s, as %s stores it", diag.Name(e.held.Name), e.held.DType, want, diag.Name(c.x.Quantization))
		p.Tensor, p.Want, p.Got = e.held.Name, want, e.held.DType.String()
		p.Cause = "the tensor was cast after the weights were quantized, or the dtype in the header is wrong"
		p.Fix = "take the weights as the quantizer saved them"
		c.Report.Add(p)
	}
}

// unjudgedPart reports whether a tensor may stand for a weight that is quantized
// in a way that is not known.
func (c *comparing) unjudgedPart(name string) bool {
	if len(c.m.blind) == 0 {
		return false
	}
	for prefix := range prefixes(name) {
		if c.m.blind[prefix] || c.m.prefix != "" && (c.m.blind[c.m.prefix+prefix] || c.m.blind[strings.TrimPrefix(prefix, c.m.prefix)]) {
			return true
		}
	}
	i := strings.LastIndexByte(name, '_')
	return i > 0 && c.m.blind[name[:i]]
}
