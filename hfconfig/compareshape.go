package hfconfig

import (
	"fmt"
	"slices"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// shapes compares the shapes of the tensors that are there.
func (c *comparing) shapes() {
	var wrong []*entry
	empty := 0
	for i := range c.m.entries {
		e := &c.m.entries[i]
		if e.held == nil || e.shape == nil || slices.Equal(e.held.Shape, e.shape) {
			continue
		}
		wrong = append(wrong, e)
		if isEmpty(e) {
			empty++
		}
	}
	resized := c.vocabulary(wrong)
	for _, e := range wrong {
		code := diag.TensorShape
		if isEmpty(e) {
			code = diag.TensorEmpty
		}
		p := diag.New(code, "%s is %s, config.json leads to %s", diag.Name(e.held.Name), shapeText(e.held.Shape), shapeText(e.shape))
		p.Tensor, p.Want, p.Got = e.held.Name, shapeText(e.shape), shapeText(e.held.Shape)
		switch {
		case isEmpty(e):
			p.Cause = fmt.Sprintf("%d of %d tensors are empty: the model was saved under DeepSpeed ZeRO-3 without gathering the weights", empty, len(c.held))
			p.Fix = "merge the training shards beside it (safeckpt merge-zero DIR OUT), or save again with stage3_gather_16bit_weights_on_model_save: true"
		case resized != nil && resized.entries[e]:
			p.Cause, p.Fix = resized.cause, resized.fix
		case transposed(e):
			p.Cause = "the matrix is transposed: it was converted from a framework or a layer that stores it the other way round"
			p.Fix = "transpose it, or convert the model again"
		default:
			p.Cause = "config.json belongs to another size of the model, or the weights do"
			p.Fix = "take the config.json that was saved with these weights"
		}
		c.Report.Add(p)
		c.WrongShape = append(c.WrongShape, Mismatch{e.held.Name, e.memory(), e.shape, e.held.Shape})
	}
	slices.SortFunc(c.WrongShape, func(a, b Mismatch) int { return diag.CompareNames(a.Native, b.Native) })
}

func isEmpty(e *entry) bool {
	return len(e.held.Shape) == 1 && e.held.Shape[0] == 0 && !slices.Contains(e.shape, 0)
}

func transposed(e *entry) bool {
	n := len(e.shape)
	if n < 2 || len(e.held.Shape) != n {
		return false
	}
	swapped := slices.Clone(e.shape)
	swapped[n-1], swapped[n-2] = swapped[n-2], swapped[n-1]
	return slices.Equal(swapped, e.held.Shape)
}

// A resize is a vocabulary of another size than the config's.
type resize struct {
	entries    map[*entry]bool
	cause, fix string
}

// vocabulary looks for embeddings, and what maps back to them, whose rows differ
// in the same way.
func (c *comparing) vocabulary(wrong []*entry) *resize {
	i := slices.IndexFunc(wrong, func(e *entry) bool { return e.kind == Embedding && onlyRows(e) })
	if i < 0 {
		return nil
	}
	embedding := wrong[i]
	want, got := embedding.shape[0], embedding.held.Shape[0]
	r := &resize{entries: make(map[*entry]bool)}
	for _, e := range wrong {
		if onlyRows(e) && e.shape[0] == want && e.held.Shape[0] == got {
			r.entries[e] = true
		}
	}
	for i := range c.m.entries { // a head of the same shape that did not grow with it
		e := &c.m.entries[i]
		if e.kind == Linear && e.held != nil && slices.Equal(e.shape, embedding.shape) && slices.Equal(e.held.Shape, e.shape) {
			r.cause = fmt.Sprintf("the vocabulary was resized to %d here, but %s still has %d", got, e.held.Name, want)
			r.fix = fmt.Sprintf("load the model before it was resized, call resize_token_embeddings(%d) and save it whole", got)
			return r
		}
	}
	grown := "cut"
	if got > want {
		grown = "grown"
	}
	r.cause = fmt.Sprintf("the vocabulary was %s to %d after this config.json, which says %d, was written", grown, got, want)
	r.fix = fmt.Sprintf("set vocab_size to %d in config.json, or take the config.json that was saved with these weights", got)
	switch t := c.o.VocabSize; {
	case t == got:
		r.cause += fmt.Sprintf("; the tokenizer has %d entries too", t)
	case t == want:
		r.cause = fmt.Sprintf("the weights have a vocabulary of %d, config.json and the tokenizer of %d: the weights are those of another tokenizer", got, want)
		r.fix = "put the weights, tokenizer and config.json of one model together"
	case t > 0 && t < got && padding(t, got) > 0:
		r.cause += fmt.Sprintf("; the tokenizer has %d entries, padded to a multiple of %d", t, padding(t, got))
	case t > 0:
		r.cause += fmt.Sprintf("; the tokenizer has %d entries", t)
	case got > want && padding(want, got) > 0:
		r.cause += fmt.Sprintf(" (or padded to a multiple of %d)", padding(want, got))
	}
	return r
}

// padding returns the largest usual multiple to which n entries are padded to
// make rows, or 0.
func padding(n, rows uint64) uint64 {
	for _, m := range []uint64{512, 256, 128, 64, 32, 16, 8} {
		if rows%m == 0 && (n+m-1)/m*m == rows {
			return m
		}
	}
	return 0
}

func onlyRows(e *entry) bool {
	return len(e.shape) > 0 && len(e.held.Shape) == len(e.shape) && slices.Equal(e.held.Shape[1:], e.shape[1:])
}

var torchDTypes = map[string]safetensors.DType{
	"float64": safetensors.F64, "float32": safetensors.F32, "float": safetensors.F32,
	"float16": safetensors.F16, "half": safetensors.F16, "bfloat16": safetensors.BF16,
	"float8_e4m3fn": safetensors.F8_E4M3, "float8_e5m2": safetensors.F8_E5M2,
}

// integers reports weights of layers that are stored as integers without a
// quantization that says how to scale them: torch casts them as they are.
func (c *comparing) integers() {
	for i := range c.m.entries {
		e := &c.m.entries[i]
		if e.held == nil || e.held.DType.IsFloat() || e.held.DType == safetensors.C64 || e.kind >= BatchNorm {
			continue
		}
		p := diag.New(diag.TensorInteger, "%s is stored as %s, want a floating-point type", diag.Name(e.held.Name), e.held.DType)
		p.Tensor, p.Want, p.Got = e.held.Name, "a floating-point dtype", e.held.DType.String()
		p.Cause = "the weights were quantized and config.json has no quantization_config, or the dtype in the header is wrong"
		p.Fix = "take the config.json that was saved with these weights, or the weights before they were quantized"
		c.Report.Add(p)
	}
}

// dtypes warns if most of the weights are of another dtype than the config says.
// Some always are: norms, routers and the like are often kept in F32.
func (c *comparing) dtypes() {
	c.integers()
	want, ok := torchDTypes[c.x.config.DType()]
	if !ok {
		return
	}
	var bytes, elements, other, total uint64
	var most safetensors.DType
	count := make(map[safetensors.DType]uint64)
	for i := range c.m.entries {
		h := c.m.entries[i].held
		if h == nil || c.m.entries[i].part || !slices.Contains([]safetensors.DType{safetensors.F64, safetensors.F32, safetensors.F16, safetensors.BF16, safetensors.F8_E4M3, safetensors.F8_E5M2}, h.DType) {
			continue
		}
		bytes += h.Bytes()
		elements += h.Elements()
		total += h.Elements()
		if h.DType != want {
			other += h.Elements()
			if count[h.DType] += h.Elements(); count[h.DType] > count[most] {
				most = h.DType
			}
		}
	}
	if other*2 <= total {
		return
	}
	after := elements * uint64(want.Bits()) / 8
	p := diag.New(diag.DTypeOther, "weights are %s, config.json says %s: %s, %s after a cast", most, c.x.config.DType(), diag.Size(bytes), diag.Size(after))
	p.Want, p.Got = want.String(), most.String()
	p.Cause = "the model was saved from a trainer that keeps its weights in another dtype, or cast after config.json was written"
	p.Fix = "cast the weights before saving (model.to(torch." + c.x.config.DType() + ")), or correct dtype in config.json"
	c.Report.Add(p)
}
