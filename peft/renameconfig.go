package peft

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// A moved is a module under the name that the adapter has for it, and under the
// one that it has in the base.
type moved struct{ old, new string }

// An aspect is something that fields of adapter_config.json say of modules by
// their names.
type aspect struct {
	fields []string
	// of returns what is said of a module, nil for nothing: true, a number, or JSON
	// text.
	of     func(module string) any
	suffix string // of the names in the field
}

func aspectsOf(c *Config) []aspect {
	k := &check{c: c, match: newMatcher(c)}
	rows, _ := c.value("trainable_token_indices").(map[string]any)
	kept := make(map[string]any)
	if lists, ok := c.value("rank_pattern").(map[string]any); ok && c.ranks != nil {
		for name, list := range lists {
			kept[adaModule(name)] = jsonText(list)
		}
	}
	rank := func(module string) any { return k.patternValue(c.RankPattern, module) }
	return []aspect{
		{fields: []string{"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"}, of: func(module string) any {
			_, ok := k.match.target(module)
			return said(ok)
		}},
		{fields: []string{"modules_to_save"}, of: func(module string) any {
			return said(slices.ContainsFunc(c.ModulesToSave, func(entry string) bool { return entry != "" && strings.HasSuffix(module, entry) }))
		}},
		{fields: []string{"target_parameters"}, of: func(module string) any {
			_, ok := k.match.parameter(module)
			return said(ok)
		}},
		{fields: []string{"feedforward_modules"}, of: func(module string) any { return said(k.match.feedforwardModule(module)) }},
		{fields: []string{"trainable_token_indices"}, of: func(module string) any {
			for _, t := range c.TokenIndices {
				if t.Module != "" && strings.HasSuffix(module, t.Module) {
					return jsonText(rows[t.Module])
				}
			}
			return nil
		}},
		{fields: []string{"rank_pattern"}, of: rank},
		{fields: []string{"n_frequency_pattern"}, of: rank},
		{fields: []string{"block_size_pattern"}, of: rank},
		{fields: []string{"alpha_pattern"}, of: func(module string) any { return k.patternValue(c.AlphaPattern, module) }},
		{fields: []string{"rank_pattern"}, of: func(module string) any { return kept[module] }, suffix: ".lora_E"}, // of AdaLoRA
	}
}

func said(ok bool) any {
	if ok {
		return true
	}
	return nil
}

func (k *check) patternValue(patterns []Pattern, module string) any {
	if hits := k.match.pick(patterns, module); len(hits) > 0 {
		return patterns[hits[0]].Value
	}
	return nil
}

// renameConfig returns the text of a config that says of modules under their new
// names what c says of them under their old ones, and the fields that had to be
// changed for it: they then name modules whole. Without any the text is nil.
func renameConfig(c *Config, modules []moved) (text []byte, changed []string) {
	fields := maps.Clone(c.fields)
	for _, a := range aspectsOf(c) {
		if c.isNull(a.fields[0]) || c.Targets.allLinear() && a.fields[0] == "target_modules" {
			continue
		}
		values, same := make(map[string]any), true
		for _, m := range modules {
			v := a.of(m.old)
			same = same && v == a.of(m.new)
			if v != nil {
				values[m.new+a.suffix] = v
			}
		}
		if same {
			continue
		}
		for _, f := range a.fields {
			if !c.isNull(f) {
				fields[f] = json.RawMessage("null")
				changed = append(changed, f)
			}
		}
		fields[a.fields[0]] = explicit(values)
	}
	if len(changed) == 0 {
		return nil, nil
	}
	slices.Sort(changed)
	return encodeFields(fields), changed
}

// explicit returns a list of the names, or an object if more is said of them.
func explicit(values map[string]any) json.RawMessage {
	parts := make([]string, 0, len(values))
	brackets := "[]"
	for _, name := range sortedKeys(values) {
		part := jsonText(name)
		switch v := values[name].(type) {
		case float64:
			part, brackets = part+": "+jsonText(v), "{}"
		case string:
			part, brackets = part+": "+v, "{}"
		}
		parts = append(parts, "\n    "+part)
	}
	return json.RawMessage(brackets[:1] + strings.Join(parts, ",") + "\n  " + brackets[1:])
}

func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return "null" // cannot be: it was read from JSON
	}
	return string(text)
}

// encodeFields writes the fields as PEFT does, sorted and with an indent of 2;
// what is inside of them stays as it was.
func encodeFields(fields map[string]json.RawMessage) []byte {
	var out bytes.Buffer
	for i, name := range sortedKeys(fields) {
		out.WriteString(map[bool]string{true: "{\n  ", false: ",\n  "}[i == 0])
		out.WriteString(jsonText(name) + ": ")
		out.Write(fields[name])
	}
	out.WriteString("\n}")
	return out.Bytes()
}

// moved returns the modules of the base with the names that the adapter has for
// them. Those of its own modules are known; for others the changes of names are
// taken back.
func (k *check) moved() []moved {
	olds := make(map[string]string)
	for _, e := range k.entries {
		was := parseName(e.info, k.method.prefix)
		now := was
		if to, ok := k.res.Names[e.info.Name]; ok {
			info := *e.info
			info.Name = to
			now = parseName(&info, k.method.prefix)
		}
		olds[now.owner()] = was.owner()
	}
	back := slices.SortedFunc(slices.Values(k.res.Renames), func(a, b Rename) int { return -cmp.Compare(len(a.To), len(b.To)) })
	old := func(name string) string {
		if was, ok := olds[name]; ok {
			return was
		}
		for _, r := range back {
			if was, ok := (Rename{From: r.To, To: r.From}).apply(name); ok {
				return was
			}
		}
		return name
	}
	var modules []moved
	for _, m := range k.base.views[0].modules {
		modules = append(modules, moved{old(m.path), m.path})
	}
	return modules
}

// owner returns the module that a tensor belongs to, without what PEFT's wrappers
// add.
func (e *entry) owner() string {
	if e.key == "" {
		return e.name[:max(strings.LastIndexByte(e.name, '.'), 0)]
	}
	return plainPath(e.module)
}
