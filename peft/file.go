package peft

import (
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

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

// empties reports tensors that hold nothing.
func (k *check) empties() {
	var empty []*entry
	for _, e := range k.entries {
		if isEmpty(e.info) && !k.mayBeEmpty[e] {
			empty = append(empty, e)
		}
	}
	for _, e := range empty {
		t := e.info
		p := problem(diag.AdapterEmpty, e, "%s has shape %s: it holds nothing (so do %d of %d tensors)", diag.Name(t.Name), shapeString(t.Shape), len(empty), len(k.entries))
		p.Want, p.Got = "the whole tensor", shapeString(t.Shape)
		p.Cause = "saved under DeepSpeed ZeRO-3 (or FSDP) without gathering: each process held a part, and the file got the empty placeholders"
		p.Fix = "take the weights from the checkpoint's global_step directory (safeckpt merge-zero DIR OUT), or save again with stage3_gather_16bit_weights_on_model_save: true"
		k.res.Report.Add(p)
	}
}

// dtypes reports factors that are stored as integers.
func (k *check) dtypes() {
	for _, e := range k.entries {
		t := e.info
		if isEmpty(t) || isFloat(t.DType) || isInteger(e) {
			continue
		}
		p := problem(diag.AdapterDType, e, "%s is %s, want a float type", diag.Name(t.Name), t.DType)
		p.Want, p.Got = "F32, BF16 or F16", t.DType.String()
		p.Cause = "the adapter was quantized and its scales are lost; PEFT casts the integers to floats as they are"
		p.Fix = "use the adapter as it was before quantization"
		k.res.Report.Add(p)
	}
}

func isEmpty(t *safetensors.TensorInfo) bool { return slices.Contains(t.Shape, 0) }

func isFloat(d safetensors.DType) bool {
	switch d {
	case safetensors.F16, safetensors.BF16, safetensors.F32, safetensors.F64,
		safetensors.F8_E4M3, safetensors.F8_E5M2, safetensors.F8_E4M3FNUZ, safetensors.F8_E5M2FNUZ:
		return true
	}
	return false
}

// isInteger reports whether a tensor rightly holds integers: SHiRA and VB-LoRA
// store positions, and a module that is saved whole may have buffers.
func isInteger(e *entry) bool {
	switch {
	case e.key != "":
		return strings.HasSuffix(e.key, "indices") || strings.HasSuffix(e.key, ".num_batches_tracked")
	case strings.Contains(e.name, "lora_"):
		return strings.HasSuffix(e.name, "indices")
	}
	last := lastPart(e.name)
	trained := leaves[last] && last != "num_batches_tracked" || last == "trainable_tokens_delta"
	return e.prefix != prefixNone && !trained || e.info.DType == safetensors.BOOL
}

func (k *check) notHeld() {
	if k.c.Type == "" {
		return // said already
	}
	p := diag.New(diag.AdapterNotHeld, "adapters of type %s are known by name only: %s not held against the config", k.c.Type, diag.Count(len(k.entries), "tensor"))
	p.File = WeightsFile
	k.res.Report.Add(p)
}
