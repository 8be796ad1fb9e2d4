package hfconfig

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// A reason is why tensors are missing or unexpected, and what to do.
type reason struct{ cause, fix string }

// lone is for a tensor that is missing by itself.
var lone = reason{"the rest of its module is here: the file was edited, or saved by another version of the model; from_pretrained would fill it with random numbers",
	"save the model again, or take an earlier checkpoint"}

// explain reports what is missing and unexpected, with the likeliest cause.
func (c *comparing) explain() {
	if len(c.lacking)+len(c.foreign) == 0 {
		return
	}
	c.survey()
	all := c.cause()
	absent := c.absences()
	for _, e := range c.lacking {
		name := c.m.onDisk(e)
		p := diag.New(diag.TensorMissing, "%s is missing: want %s", diag.Name(name), shapeText(e.shape))
		p.Tensor, p.Want = name, shapeText(e.shape)
		if memory := e.memory(); memory != name {
			p.Related = []diag.Related{{Tensor: memory, Message: "in memory it is " + diag.Name(memory)}}
		}
		r := all
		if r == nil {
			r = absent[e]
		}
		if g := c.orphans[e]; g != nil {
			r = &reason{"the config ties " + strings.Join(g, " and ") + " to one weight, and none of them is here", "copy the missing files again, or take an earlier checkpoint"}
		}
		if r == nil {
			r = &lone
		}
		p.Cause, p.Fix = r.cause, r.fix
		c.Report.Add(p)
	}
	for _, h := range c.foreign {
		r := all
		if r == nil {
			r = c.presence(h.Name)
		}
		p := diag.New(diag.TensorUnexpected, "%s %s is not in the model that config.json describes", diag.Name(h.Name), shapeText(h.Shape))
		p.Tensor, p.Got = h.Name, shapeText(h.Shape)
		p.Cause, p.Fix = r.cause, r.fix
		c.Report.Add(p)
	}
}

// cause looks for one that explains all that is wrong.
func (c *comparing) cause() *reason {
	if r := c.wrapped(); r != nil {
		return r
	}
	if len(c.foreign) > 0 {
		if r := c.otherClass(); r != nil {
			return r
		}
	}
	if r := c.textAlone(); r != nil {
		return r
	}
	if len(c.foreign) == 0 && c.headMissing() != nil {
		return nil
	}
	if r := c.elsewhere(); r != nil {
		return r
	}
	return c.otherModel()
}

// wrappers are prefixes that training code puts before every name, and how to
// save without them.
var wrappers = map[string]reason{
	"module.":           {"the model was saved inside DataParallel or DistributedDataParallel", "save the model inside it: accelerator.unwrap_model(model).save_pretrained(DIR), or model.module"},
	"_orig_mod.":        {"the model was saved as torch.compile returned it", "save the model inside it: model._orig_mod"},
	"base_model.model.": {"the model was saved inside a PEFT wrapper", "save model.merge_and_unload(), or keep the adapter alone with PeftModel.save_pretrained"},
	"base_model.":       {"the model was saved inside a wrapper", "save the model inside it: model.base_model"},
}

// infixes stand in the middle of names, once for each wrapped module.
var infixes = strings.NewReplacer("_orig_mod.", "", "_fsdp_wrapped_module.", "", "_checkpoint_wrapped_module.", "", "_forward_module.", "", "module.", "", "base_layer.", "")

// wrapped finds something in the way of names that else fit.
func (c *comparing) wrapped() *reason {
	if len(c.foreign) < 2 {
		return nil
	}
	fits := func(rename func(string) (string, bool)) int {
		seen := make(map[int]bool)
		for _, h := range c.foreign {
			if name, ok := rename(h.Name); ok {
				if i, _, ok := c.m.find(name); ok {
					seen[i] = true
				}
			}
		}
		return len(seen)
	}
	for _, h := range c.foreign[:min(len(c.foreign), 8)] {
		prefix := c.extraPrefix(h.Name)
		if prefix == "" {
			continue
		}
		n := fits(func(s string) (string, bool) { return strings.CutPrefix(s, prefix) })
		if n < 2 || n*10 < len(c.foreign)*9 {
			continue
		}
		r, known := wrappers[prefix]
		if !known {
			r = reason{"the model was saved as a part of another one", "save the inner model"}
		}
		return &reason{
			fmt.Sprintf("%d names carry the extra prefix %q: %s; without it %d of %d tensors fit", n, prefix, r.cause, n+c.m.fits, c.needed()),
			r.fix + fmt.Sprintf("; or take %q off all names of this file", prefix),
		}
	}
	if n := fits(func(s string) (string, bool) { t := infixes.Replace(s); return t, t != s }); n >= 2 && n*10 >= len(c.foreign)*9 {
		return &reason{
			fmt.Sprintf("names carry parts that FSDP, torch.compile or checkpointing wrappers put in, as in %s; without them %d of %d tensors fit", diag.Name(c.foreign[0].Name), n+c.m.fits, c.needed()),
			"save the model inside the wrappers: accelerator.get_state_dict(model), or accelerator.unwrap_model(model).save_pretrained(DIR)",
		}
	}
	return nil
}

// extraPrefix returns what stands before the name of one of the model's tensors,
// or "".
func (c *comparing) extraPrefix(name string) string {
	found := ""
	for prefix := range prefixes(name) {
		n := len(prefix) + 1 // with its dot
		_, how, ok := c.m.find(name[n:])
		if ok && how == asIs {
			return name[:n]
		}
		if ok && found == "" {
			found = name[:n]
		}
	}
	return found
}

func (c *comparing) needed() int {
	n := 0
	for i := range c.m.entries {
		if !c.m.entries[i].optional {
			n++
		}
	}
	return n
}

// otherModel says so if nearly nothing fits.
func (c *comparing) otherModel() *reason {
	if !c.strange() {
		return nil
	}
	return &reason{
		fmt.Sprintf("%d of %d tensors are named as %s names them: config.json and the weights are of different models", c.m.fits, len(c.held), c.x.Architecture),
		"put the config.json that belongs to these weights beside them",
	}
}

// otherClass looks for a class of the model type that the weights fit whole.
func (c *comparing) otherClass() *reason {
	for _, class := range c.x.model.classes {
		if class == c.x.class {
			continue
		}
		p, err := c.x.bind(class)
		if err != nil {
			continue
		}
		for _, l := range []Layout{Save, Native, Hub} {
			if l != Save && !p.distinct[l] {
				continue
			}
			if p.table(l, "", c.held).match(c.held).whole(false) {
				return &reason{
					fmt.Sprintf("the weights are those of %s, config.json says %s", class.name, c.x.Architecture),
					fmt.Sprintf("set architectures to [%q] in config.json", class.name),
				}
			}
		}
	}
	return nil
}

// absences finds modules and layers that are missing as a whole.
func (c *comparing) absences() map[*entry]*reason {
	if len(c.lacking) == 0 {
		return nil
	}
	needed, lacking := make(map[string]int), make(map[string]int)
	for i := range c.m.entries {
		if e := &c.m.entries[i]; !e.optional {
			for prefix := range prefixes(e.name) {
				needed[prefix]++
			}
		}
	}
	for _, e := range c.lacking {
		for prefix := range prefixes(e.name) {
			lacking[prefix]++
		}
	}
	groups := make(map[string][]*entry) // by the outermost module that is missing whole
	for _, e := range c.lacking {
		for prefix := range prefixes(e.name) {
			if needed[prefix] == lacking[prefix] {
				groups[prefix] = append(groups[prefix], e)
				break
			}
		}
	}
	layers := make(map[string][]int) // list -> indices that are missing as a whole
	for prefix := range groups {
		if list, i, ok := listIndex(prefix); ok {
			layers[list] = append(layers[list], i)
		}
	}
	ofList := make(map[string]*reason) // once each: there may be very many layers
	for list, missing := range layers {
		ofList[list] = layersMissing(list, missing, c.lists[list])
	}
	head := c.headMissing()
	out := make(map[*entry]*reason)
	for prefix, entries := range groups {
		var r *reason
		switch list, _, ok := listIndex(prefix); {
		case ok:
			r = ofList[list]
		case head != nil && !strings.HasPrefix(entries[0].memory(), c.m.prefix):
			r = head
		default:
			r = &reason{
				fmt.Sprintf("all of %s is missing (%d %s): the checkpoint was saved without this part, or a shard is missing", prefix, len(entries), plural(len(entries), "tensor", "tensors")),
				"save the whole model, or copy the missing files again",
			}
		}
		for _, e := range entries {
			out[e] = r
		}
	}
	return out
}

// Names beyond these limits are of no model: no cause is looked for, since that
// takes time in the square of their length.
const (
	maxExplained = 1000 // bytes
	maxNested    = 64   // dots
)

// prefixes yields the names of the modules that a tensor stands in, from the
// outermost; none for a name that is too long to be explained.
func prefixes(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if len(name) > maxExplained || strings.Count(name, ".") > maxNested {
			return
		}
		for i := range len(name) {
			if name[i] == '.' && !yield(name[:i]) {
				return
			}
		}
	}
}

func listIndex(prefix string) (list string, i int, ok bool) {
	dot := strings.LastIndexByte(prefix, '.')
	i, err := strconv.Atoi(prefix[dot+1:])
	return prefix[:max(dot, 0)], i, dot > 0 && err == nil
}

// survey finds out how many elements each list of modules should have, and the
// outermost parts of the model.
func (c *comparing) survey() {
	if c.lists != nil {
		return
	}
	c.lists, c.tops = make(map[string]int), make(map[string]bool)
	for i := range c.m.entries {
		name := c.m.entries[i].name
		c.tops[c.top(name)] = true
		for prefix := range prefixes(name) {
			if list, n, ok := listIndex(prefix); ok {
				c.lists[list] = max(c.lists[list], n+1)
			}
		}
	}
}

func layersMissing(list string, missing []int, promised int) *reason {
	slices.Sort(missing)
	if len(missing) < promised && missing[0] == promised-len(missing) {
		return &reason{
			fmt.Sprintf("config.json promises %d of %s, the checkpoint has the first %d: it belongs to a smaller model, or its end was lost", promised, list, missing[0]),
			"take the config.json that was saved with these weights, or copy the missing files again",
		}
	}
	return &reason{
		fmt.Sprintf("%d of the %d %s are missing whole, first %d: a shard is missing, or an old index was copied", len(missing), promised, list, missing[0]),
		"copy the missing files again, or take an earlier checkpoint",
	}
}

// headMissing says so if all that the class adds to its base model is missing.
func (c *comparing) headMissing() *reason {
	if c.m.prefix == "" {
		return nil
	}
	var parts []string
	for i := range c.m.entries {
		e := &c.m.entries[i]
		if e.optional || strings.HasPrefix(e.memory(), c.m.prefix) {
			continue
		}
		if e.held != nil {
			return nil
		}
		parts = append(parts, strings.TrimSuffix(strings.TrimSuffix(e.memory(), ".weight"), ".bias"))
	}
	slices.Sort(parts)
	parts = slices.Compact(parts)
	if len(parts) == 0 || c.m.fits == 0 {
		return nil
	}
	r := &reason{
		fmt.Sprintf("the checkpoint holds the base model without the head of %s (%s)", c.x.Architecture, strings.Join(parts[:min(len(parts), 4)], ", ")),
		"load it as the base model (AutoModel), or save the model with its head",
	}
	if slices.Contains(parts, "lm_head") {
		r.fix += "; if the head shares its weight with the embedding, set tie_word_embeddings to true in config.json"
	}
	return r
}

// presence explains one unexpected tensor.
func (c *comparing) presence(name string) *reason {
	for prefix := range prefixes(name) {
		list, i, ok := listIndex(prefix)
		if n := c.lists[list]; ok && n > 0 && i >= n {
			return &reason{
				fmt.Sprintf("config.json has %d of %s (0 to %d): the weights belong to a deeper model, or carry layers that this class does not use", n, list, n-1),
				"take the config.json that was saved with these weights",
			}
		}
	}
	top := c.top(name)
	if c.tops[top] {
		return &reason{"a tensor of another version or variant of the model", "check that config.json was saved with these weights"}
	}
	return &reason{
		fmt.Sprintf("%s has no part %s: config.json and the weights are of different models, or the weights carry an extra part", c.x.Architecture, diag.Name(top)),
		"take the config.json that was saved with these weights",
	}
}

// top returns the outermost part that a tensor stands in, the base model apart.
func (c *comparing) top(name string) string {
	top, _, _ := strings.Cut(strings.TrimPrefix(name, c.m.prefix), ".")
	return top
}
