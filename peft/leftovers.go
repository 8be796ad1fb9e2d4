package peft

import (
	"fmt"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// tokenRows holds trainable_token_indices against the file.
func (k *check) tokenRows() {
	const suffix = ".token_adapter.trainable_tokens_delta"
	rows := make(map[string]*entry)
	for _, e := range k.entries {
		if path, ok := strings.CutSuffix(strings.TrimSuffix(e.name, ".default"), suffix); ok {
			rows[path] = e
		}
	}
	for _, t := range k.c.TokenIndices {
		found := false
		for _, path := range sortedKeys(rows) {
			e := rows[path]
			if !strings.HasSuffix(path, t.Module) || t.Module == "" && !inputEmbeddings[lastPart(path)] {
				continue
			}
			found, k.used[e] = true, true
			want := []dim{fixed(uint64(t.Count)), anySize}
			if m := k.view.find(path); m != nil && len(m.shape) == 2 {
				want[1] = fixed(m.shape[1])
			}
			if !isEmpty(e.info) && !fits(want, e.info.Shape, make(map[string]uint64)) {
				k.wrongShape(&module{path: path}, mismatch{e, want})
			}
		}
		tied := outputEmbeddings[lastPart(t.Module)] && len(k.c.TokenIndices) > 1 // follows the input embedding
		if found || tied {
			continue
		}
		name := t.Module
		if name == "" {
			name = "the input embedding"
		}
		p := problem(diag.AdapterTensorMissing, nil, "the rows of %s that trainable_token_indices names are missing: want %s", diag.Name(name), diag.Count(t.Count, "row"))
		p.Want, p.Got = fmt.Sprintf("%s%s of %s", diag.Name(t.Module), suffix, diag.Count(t.Count, "row")), "absent"
		p.Cause = "the file was cut down, or saved by a version of PEFT that did not know the field"
		p.Fix = "save the adapter again from the training checkpoint"
		k.res.Report.Add(p)
	}
}

// biases accepts the biases of the base that were trained along, and reports
// those that are missing. Follows peft 0.21.2 tuners/tuners_utils.py,
// _get_learnable_bias_state_dict.
func (k *check) biases() {
	if k.c.Bias == "none" {
		return
	}
	adapted := make(map[string]bool)
	for _, m := range k.res.Modules {
		adapted[m.Path] = true
	}
	names := make(map[string]*entry)
	for _, e := range k.entries {
		if e.key != "" || !strings.HasSuffix(e.name, ".bias") {
			continue
		}
		if names[e.name] = e; k.c.Bias != "all" && !strings.HasSuffix(e.name, ".base_layer.bias") {
			continue
		}
		k.used[e] = true
		plain := e.name
		for _, wrapper := range []string{".base_layer.", ".modules_to_save.", ".original_module."} {
			plain = strings.ReplaceAll(plain, wrapper, ".")
		}
		if shape := k.view.tensors[plain]; shape != nil {
			k.wholeTensor(e, plain, shape)
		}
	}
	if k.base == nil {
		return
	}
	for _, name := range sortedKeys(k.view.tensors) {
		path, ok := strings.CutSuffix(name, ".bias")
		if !ok || k.match.excluded(path) || k.insideAttention(path) {
			continue
		}
		key := name
		if adapted[path] {
			key = path + ".base_layer.bias"
		} else if k.c.Bias != "all" {
			continue
		}
		if names[key] != nil {
			continue
		}
		p := problem(diag.AdapterTensorMissing, nil, "%s is missing: bias is %q, so the biases of the base are part of the adapter", diag.Name(key), k.c.Bias)
		p.Tensor = modelPrefix + key
		p.Want, p.Got = shapeString(k.view.tensors[name]), "absent"
		p.Cause = "the biases were trained and not saved, or bias was changed afterwards; PEFT keeps those of the base without a word"
		p.Fix = `save the adapter again, or set bias to "none" if biases were not trained`
		if k.strangers() {
			p.Severity = diag.Warning
		}
		k.res.Report.Add(p)
	}
}

func (k *check) insideAttention(path string) bool {
	parent := path[:max(strings.LastIndexByte(path, '.'), 0)]
	m := k.view.find(parent)
	return m != nil && m.kind == attention
}

// leftovers says of every tensor that is not accounted for yet what it is.
func (k *check) leftovers() {
	for _, e := range k.entries {
		if k.used[e] {
			continue
		}
		if e.key != "" {
			k.leftoverOfMethod(e)
		} else if !k.embedding(e) && !k.wrappedCopy(e) {
			k.baseWeight(e)
		}
	}
}

// wrappedCopy accepts the copies of a saved module under the names of its
// wrapper, X.modules_to_save.weight and X.original_module.weight: PEFT writes them
// too when it saves the embeddings whole. Follows peft 0.21.2
// utils/save_and_load.py, get_peft_model_state_dict.
func (k *check) wrappedCopy(e *entry) bool {
	for _, inner := range []string{".modules_to_save.weight", ".original_module.weight"} {
		path, ok := strings.CutSuffix(e.name, inner)
		if last := lastPart(path); ok && (inputEmbeddings[last] || outputEmbeddings[last]) && slices.ContainsFunc(k.c.ModulesToSave, func(m string) bool { return strings.HasSuffix(path, m) }) {
			return true
		}
	}
	return false
}

// embedding accepts a whole input or output embedding: PEFT saves both when one
// is targeted or the vocabulary has changed. Follows peft 0.21.2
// utils/save_and_load.py, get_peft_model_state_dict.
func (k *check) embedding(e *entry) bool {
	path, targeted := strings.CutSuffix(e.name, ".base_layer.weight")
	if !targeted {
		var ok bool
		if path, ok = strings.CutSuffix(e.name, ".weight"); !ok {
			return false
		}
	}
	last := lastPart(path)
	if !inputEmbeddings[last] && !outputEmbeddings[last] || len(e.info.Shape) != 2 {
		return false
	}
	m := k.view.find(path)
	if m == nil && k.base != nil && k.base.certain || targeted && k.modules[path] == nil {
		return false
	}
	before := k.res.Report.Count(diag.Error)
	if m != nil && m.shape != nil {
		k.wholeTensor(e, path+".weight", m.shape)
	}
	if k.res.Report.Count(diag.Error) == before && !targeted {
		p := problem(diag.AdapterBaseTensor, e, "%s is a whole embedding, which replaces that of the base on loading", diag.Name(e.info.Name))
		p.Severity = diag.Note
		p.Cause = "saved with save_embedding_layers=True, or after the vocabulary was resized"
		k.res.Report.Add(p)
	}
	return true
}

// baseWeight reports a tensor of the base inside the adapter.
func (k *check) baseWeight(e *entry) {
	k.res.Unexplained++
	plain := strings.ReplaceAll(e.name, ".base_layer.", ".")
	isBase := strings.HasSuffix(e.name, ".weight") || strings.HasSuffix(e.name, ".bias")
	if k.base != nil {
		_, isBase = k.view.tensors[plain]
	}
	if !isBase {
		p := problem(diag.AdapterUnexplained, e, "%s is no tensor of the adapter that the config describes", diag.Name(e.info.Name))
		p.Cause = "it belongs to another adapter or method, or its name was changed; PEFT leaves it out without a word"
		p.Fix = "remove it, or take the adapter_config.json that belongs to the file"
		k.res.Report.Add(p)
		return
	}
	p := problem(diag.AdapterBaseTensor, e, "%s is a weight of the base, and neither modules_to_save nor bias accounts for it", diag.Name(e.info.Name))
	p.Want, p.Got = "only tensors of the adapter", "a weight of the base"
	p.Cause = "the whole model's state was filtered by a wrong rule when the file was written, or modules_to_save or bias was lost from the config; PEFT copies the tensor over the base's without a word"
	p.Fix = "if it was trained, say so in modules_to_save or bias; else remove it from the file"
	k.res.Report.Add(p)
}

// leftoverOfMethod reports a tensor of the method that no targeted module has.
func (k *check) leftoverOfMethod(e *entry) {
	path := strings.TrimSuffix(strings.ReplaceAll(e.module+".", ".base_layer.", "."), ".")
	_, targeted := k.match.target(path)
	exists := k.view.find(path) != nil || k.base == nil || k.base.certain && k.view.parents[path]
	switch {
	case !exists:
		k.notInBase(e, path, targeted)
	case targeted || k.isTargetParameter(path):
		k.res.Unexplained++
		p := problem(diag.AdapterUnexplained, e, "%s is there, but the config gives %s no %s", diag.Name(e.info.Name), diag.Name(path), e.key)
		p.Cause = "adapter_config.json has lost an option that the adapter was trained with; PEFT leaves the tensor out without a word"
		p.Fix = "take the adapter_config.json of the training, or save the adapter again"
		if field := optionOf[strings.SplitN(e.key, ".", 2)[0]]; field != "" {
			p.Want, p.Got = field+": true", field+": false"
			p.Fix = fmt.Sprintf("set %s to true in adapter_config.json", field)
		}
		if e.key == "lora_B.bias" {
			p.Fix = "set lora_bias to true in adapter_config.json"
		}
		k.res.Report.Add(p)
	case len(k.res.Modules) == 0:
		k.res.Unexplained++ // all of them, and targetEntries says so
	default:
		k.res.Unexplained++
		p := problem(diag.AdapterUntargeted, e, "%s: target_modules does not select %s, so PEFT leaves its tensors out without a word", diag.Name(e.info.Name), diag.Name(path))
		p.Want, p.Got = "target_modules "+k.c.Targets.String(), diag.Name(path)
		p.Cause = "target_modules (or exclude_modules, layers_to_transform) is not that of the training"
		p.Fix = fmt.Sprintf("add %q to target_modules if it was trained, else remove its tensors", lastPart(path))
		k.res.Report.Add(p)
	}
}

// optionOf names the option that brings a tensor.
var optionOf = map[string]string{"lora_magnitude_vector": "use_dora"}

func (k *check) isTargetParameter(path string) bool {
	_, _, ok := k.parameterOf(path)
	return ok
}

// notInBase reports a module that the base does not have. Where the base's
// names in memory are not known, one that the config selects may well be right.
func (k *check) notInBase(e *entry, path string, targeted bool) {
	p := problem(diag.AdapterNotInBase, e, "%s: the base has no module %s", diag.Name(e.info.Name), diag.Name(path))
	p.Want, p.Got = "a module of the base", diag.Name(path)
	p.Cause = "the adapter was trained on another model; PEFT leaves the tensor out without a word"
	p.Fix = "use the base that the adapter was trained on"
	tooDeep := false
	if stem, layer, _, ok := cutLayer(path); ok {
		if last, known := k.lastLayer(stem); known && layer > last {
			tooDeep = true
			p.Message += fmt.Sprintf(": its %s end at %d", diag.Name(lastPart(stem)), last)
			p.Want, p.Got = fmt.Sprintf("layers 0 to %d", last), fmt.Sprintf("layer %d", layer)
			p.Cause = "the adapter was trained on a model with more layers; PEFT leaves the tensor out without a word"
		}
	}
	if !k.base.certain && !tooDeep && (targeted || k.isTargetParameter(path)) {
		k.unsure = true
		p.Severity = diag.Note
		p.Message = fmt.Sprintf("%s: no module %s among the base's tensors on disk", diag.Name(e.info.Name), diag.Name(path))
		p.Cause = "this model_type is not known here: the module may have another name on disk than in memory, or be one of several that are joined in memory"
		p.Fix = ""
	} else {
		k.res.Unexplained++
	}
	k.res.Report.Add(p)
}
