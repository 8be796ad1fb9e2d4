package peft

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// inferTargets makes up for target_modules that is absent: PEFT takes a table by
// model type, Check the modules of the file.
func (k *check) inferTargets() {
	if k.c.Targets.Set || len(k.c.TargetParameters) > 0 {
		return
	}
	list := k.lastParts()
	p := diag.New(diag.AdapterNoTargets, "target_modules is absent; the file has tensors for %s", strings.Join(list, ", "))
	p.File = ConfigFile
	p.Want, p.Got = "target_modules", "null"
	p.Cause = "the config was written by hand; PEFT takes the modules from a table by model type, and leaves the tensors of all others out without a word"
	p.Fix = fmt.Sprintf("set target_modules to %q", list)
	if k.base != nil && k.base.ModelType != "" && k.c.Type == "LORA" {
		table, known := defaultTargets[k.base.ModelType]
		if !known {
			p.Severity = diag.Error
			p.Message += fmt.Sprintf("; PEFT has no default for model type %s and fails", diag.Name(k.base.ModelType))
		} else {
			kept := 0
			for path := range k.modules {
				if _, ok := suffixEntry(set(strings.Fields(table)...), plainPath(path)); ok {
					kept++
				}
			}
			p.Message += fmt.Sprintf("; for model type %s PEFT takes %s and leaves out %d of %d modules", diag.Name(k.base.ModelType), table, len(k.modules)-kept, len(k.modules))
		}
	}
	k.res.Report.Add(p)
	inferred := *k.c
	inferred.Targets = Names{Set: true, List: list}
	k.c = &inferred
}

// defaultTargets follows peft 0.21.2 utils/constants.py,
// TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING (gemma4's, a regular
// expression, left out).
var defaultTargets = map[string]string{
	"RefinedWeb":      "query_key_value",
	"RefinedWebModel": "query_key_value",
	"bart":            "q_proj v_proj",
	"bert":            "query value",
	"blip-2":          "q v q_proj v_proj",
	"bloom":           "query_key_value",
	"btlm":            "c_proj c_attn",
	"chatglm":         "query_key_value",
	"codegen":         "qkv_proj",
	"deberta":         "in_proj",
	"deberta-v2":      "query_proj value_proj",
	"electra":         "query value",
	"falcon":          "query_key_value",
	"gemma":           "q_proj v_proj",
	"gemma2":          "q_proj v_proj",
	"gemma3_text":     "q_proj v_proj",
	"gpt2":            "c_attn",
	"gpt_bigcode":     "c_attn",
	"gpt_neo":         "q_proj v_proj",
	"gpt_neox":        "query_key_value",
	"gptj":            "q_proj v_proj",
	"layoutlm":        "query value",
	"llama":           "q_proj v_proj",
	"llama4":          "q_proj v_proj",
	"mistral":         "q_proj v_proj",
	"mixtral":         "q_proj v_proj",
	"mpt":             "Wqkv",
	"mt5":             "q v",
	"nemotron_h":      "q_proj k_proj v_proj o_proj",
	"opt":             "q_proj v_proj",
	"phi":             "q_proj v_proj fc1 fc2",
	"qwen2":           "q_proj v_proj",
	"qwen3":           "q_proj v_proj",
	"roberta":         "query value",
	"rwkv":            "key value receptance output",
	"rwkv7":           "r_proj k_proj v_proj o_proj key value",
	"stablelm":        "q_proj v_proj",
	"t5":              "q v",
	"xlm-roberta":     "query value",
}

// targetEntries says how many modules each entry of the config selects.
func (k *check) targetEntries() {
	counts := make(map[string]int)
	for _, m := range k.res.Modules {
		counts[m.Target]++
	}
	entries := k.c.Targets.List
	if k.c.Targets.isRegex() {
		entries = []string{k.c.Targets.Regex}
	}
	for _, e := range slices.Concat(entries, k.c.TargetParameters) {
		k.res.Targets = append(k.res.Targets, TargetResult{e, counts[e]})
	}
	if len(k.res.Targets) == 0 || k.match.targets.dead {
		return
	}
	where := "in the base"
	if k.base == nil {
		where = "in the file"
	}
	if len(k.res.Modules) == 0 {
		if k.base != nil && !k.base.certain && len(k.c.TargetParameters) > 0 {
			return // experts are single on disk and joined in memory, under other names
		}
		p := diag.New(diag.AdapterNothingTargeted, "target_modules %s selects nothing %s", k.c.Targets, where)
		p.File = ConfigFile
		p.Want, p.Got = "at least one module", "none"
		p.Cause = "the adapter is of another model, or target_modules was changed; PEFT raises an error"
		p.Fix = "name the modules that were trained, such as " + diag.Name(strings.Join(k.lastParts(), ", "))
		for _, e := range k.c.Targets.List {
			if strings.ContainsAny(e, `*\^$|(`) {
				p.Cause = "a list is compared as plain text: " + diag.Name(e) + " is no regular expression there"
				p.Fix = "write target_modules as a string to use a regular expression, or name the modules without one"
			}
		}
		k.res.Report.Add(p)
		return
	}
	if k.unsure {
		return // dead entries may be modules that the disk does not show
	}
	ends := make(map[string]bool) // of modules, which a longer entry took or which are excluded
	for _, m := range k.view.modules {
		for rest, ok := m.path, true; ok; _, rest, ok = strings.Cut(rest, ".") {
			ends[rest] = true
		}
	}
	for i, t := range k.res.Targets {
		if t.Modules > 0 || ends[t.Entry] || k.match.excluded(t.Entry) || i >= len(entries) && k.base == nil {
			continue
		}
		p := diag.New(diag.AdapterTargetUnused, "%s in target_modules selects no module %s", diag.Name(t.Entry), where)
		p.File, p.Got = ConfigFile, diag.Name(t.Entry)
		p.Cause = "the entry is for another model, or misspelt; PEFT takes no notice of it"
		if k.base == nil {
			p.Cause = "either the entry is for another model and does nothing, or the tensors of all its modules are missing"
		}
		p.Fix = "take it out of target_modules if nothing was trained there"
		k.res.Report.Add(p)
	}
}

// lastParts returns the last parts of the names of the file's modules.
func (k *check) lastParts() []string {
	last := make(map[string]bool)
	for path := range k.modules {
		last[lastPart(plainPath(path))] = true
	}
	return sortedKeys(last)
}

// patternKeys reports alpha_pattern keys that overlap, and keys that match
// nothing. Overlapping rank_pattern keys show in the ranks of the file.
func (k *check) patternKeys() {
	for _, field := range []struct {
		name     string
		patterns []Pattern
	}{{k.method.rank.pattern, k.c.RankPattern}, {k.method.alpha.pattern, k.c.AlphaPattern}} {
		used := make([]bool, len(field.patterns))
		clashes := make(map[[2]int]int)
		for _, m := range k.res.Modules {
			hits := k.match.pick(field.patterns, m.Path)
			for _, i := range hits {
				used[i] = true
				if field.patterns[i].Value != field.patterns[hits[0]].Value {
					clashes[[2]int{hits[0], i}]++
				}
			}
		}
		for i, p := range field.patterns {
			if !used[i] {
				q := diag.New(diag.AdapterPatternUnused, "the %s key %s matches no targeted module", field.name, diag.Name(p.Key))
				q.File, q.Got = ConfigFile, diag.Name(p.Key)
				q.Cause = "a key is a regular expression for the whole name of a module, or for its end after a dot"
				q.Fix = "correct the key, or remove it"
				k.res.Report.Add(q)
			}
			for j := range i {
				if n := clashes[[2]int{j, i}]; n > 0 && field.name == "alpha_pattern" {
					k.clash(field.patterns[j], p, n)
				}
			}
		}
	}
}

func (k *check) clash(first, second Pattern, n int) {
	p := diag.New(diag.AdapterPatternClash, "the alpha_pattern keys %s (%g) and %s (%g) both match %d modules; PEFT takes the first in the file",
		diag.Name(first.Key), first.Value, diag.Name(second.Key), second.Value, n)
	p.File = ConfigFile
	p.Want, p.Got = "one key for each module", fmt.Sprintf("%g or %g", first.Value, second.Value)
	p.Cause = "PEFT sorts the keys when it saves, so that another one may have won in training: the scaling would not be the trained one, and no tensor shows it"
	p.Fix = "look up alpha_pattern in the training script, and make the keys exclusive"
	k.res.Report.Add(p)
}

// baseName compares the base's name with the one that the config gives.
func (k *check) baseName() {
	name := k.c.BaseModelName
	if name == "" {
		return
	}
	last := func(s string) string {
		s = strings.TrimRight(strings.ReplaceAll(s, `\`, "/"), "/")
		return strings.ToLower(s[strings.LastIndexByte(s, '/')+1:])
	}
	if isPath(name) {
		p := diag.New(diag.AdapterBasePath, "base_model_name_or_path is a folder of the machine that trained the adapter: %s", diag.Name(name))
		p.File = ConfigFile
		p.Fix = "set base_model_name_or_path to the name of the model before publishing the adapter"
		k.res.Report.Add(p)
		return
	}
	if k.base == nil {
		return
	}
	given, severity := cmp.Or(k.base.Name, cachedName(k.base.Directory)), diag.Warning
	if given == "" {
		given, severity = k.base.Directory, diag.Note
	}
	if given == "" || last(given) == last(name) {
		return
	}
	p := diag.New(diag.AdapterBaseName, "the adapter was trained on %s, the base is %s", diag.Name(name), diag.Name(given))
	p.File, p.Severity = ConfigFile, severity
	p.Want, p.Got = diag.Name(name), diag.Name(given)
	p.Cause = "another model of the same sizes fits too; PEFT does not compare the names"
	p.Fix = "use " + diag.Name(name) + ", unless the two are the same weights"
	k.res.Report.Add(p)
}

// cachedName returns the name of a model in the Hugging Face cache by the path of
// its snapshot, "" for other paths.
func cachedName(dir string) string {
	for part := range strings.SplitSeq(strings.ReplaceAll(dir, `\`, "/"), "/") {
		if name, ok := strings.CutPrefix(part, "models--"); ok {
			return strings.ReplaceAll(name, "--", "/")
		}
	}
	return ""
}

// isPath reports whether a name is a local folder and no model of the hub.
func isPath(name string) bool {
	return strings.HasPrefix(name, "/") || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "~") ||
		strings.Contains(name, `\`) || strings.Count(name, "/") > 1
}
