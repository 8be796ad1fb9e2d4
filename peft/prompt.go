package peft

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// prompt holds an adapter that adapts no modules against its config: its tensors
// have names without a prefix, and modules that are saved whole stand after
// base_model. alone.
func (k *check) prompt() {
	if k.view = newView("file"); k.base != nil {
		k.view, k.res.Based = k.base.views[0], true
	}
	k.match = newMatcher(k.c)
	of := make(map[string]*entry)
	for _, e := range k.entries {
		if e.prefix == prefixOther {
			e.name = strings.TrimPrefix(e.name, "base_model.")
		} else {
			of[e.name] = e
		}
	}
	wants := k.method.prompt(k.c)
	k.promptNames(wants, of)
	have, complete := k.hold(&module{}, wants, of, 0, "")
	k.res.Modules = []ModuleResult{{Path: "prompt_encoder", Tensors: have, Complete: complete}}
	if complete {
		k.res.Complete = 1
	}
	k.savedModules()
	k.leftovers()
	k.promptWidth()
	k.baseName()
}

// promptNames finds tensors that have their right name after others.
func (k *check) promptNames(wants []want, of map[string]*entry) {
	for _, w := range wants {
		for _, e := range k.entries {
			if of[w.key] != nil || lastPart(e.name) != w.key {
				continue
			}
			of[w.key] = e
			if k.res.Names == nil {
				k.res.Names = make(map[string]string)
			}
			k.res.Names[e.info.Name] = w.key
			p := problem(diag.AdapterNames, e, "%s has names before its own: PEFT looks for %s", diag.Name(e.info.Name), w.key)
			p.Want, p.Got = w.key, diag.Name(e.info.Name)
			p.Cause = "a conversion added the prefix of adapters that go onto modules; PEFT fails with a KeyError"
			p.Fix = renameFix
			k.res.Report.Add(p)
		}
	}
}

// keyLayers are the last parts of the names that models give to the layer which
// makes the keys of attention.
var keyLayers = set("k_proj", "key", "k", "k_lin", "key_proj")

// promptWidth holds token_dim and num_layers against the base. PEFT takes both
// from the config and fails when the model is run.
func (k *check) promptWidth() {
	width, layers := k.c.option("token_dim"), k.c.option("num_layers")
	if k.base == nil || !k.base.certain || width == 0 {
		return
	}
	what, widths, deep := "input embeddings", make(map[uint64]bool), layers == 0
	for _, m := range k.view.modules {
		last := lastPart(m.path)
		switch {
		case layers == 0 && m.kind == embedding && inputEmbeddings[last], layers > 0 && keyLayers[last]:
			widths[m.out] = true
		}
		if stem, _, _, ok := cutLayer(m.path); ok && !deep {
			last, _ := k.lastLayer(stem)
			deep = last+1 == int(layers)
		}
	}
	if layers > 0 {
		what = "keys"
	}
	if len(widths) > 0 && !widths[width] {
		k.otherWidth(fmt.Sprintf("token_dim is %d, but the base has %s of a width of %s", width, what, joinSizes(widths)))
	}
	if !deep {
		k.otherWidth(fmt.Sprintf("num_layers is %d, and the base has no stack of as many layers", layers))
	}
}

func (k *check) otherWidth(message string) {
	p := diag.New(diag.AdapterShape, "%s", message)
	p.File = ConfigFile
	p.Cause = "the prompt was trained on another model; PEFT loads it, and the model fails when it is run"
	p.Fix = "use the base that the adapter was trained on"
	k.res.Report.Add(p)
}

func joinSizes(sizes map[uint64]bool) string {
	var parts []string
	for _, n := range slices.Sorted(maps.Keys(sizes)) {
		parts = append(parts, fmt.Sprint(n))
	}
	return strings.Join(parts, " or ")
}
