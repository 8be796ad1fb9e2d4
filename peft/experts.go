package peft

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

var expertPath = regexp.MustCompile(`\.experts\.\d+\.`)

// isExpert reports whether a module belongs to a single expert, as in transformers
// before version 5. Since then most models hold their experts joined.
func isExpert(path string) bool { return expertPath.MatchString(path) }

func (k *check) hasExperts() bool {
	if k.onExperts == nil {
		found := false
		for path := range k.modules {
			found = found || isExpert(path)
		}
		k.onExperts = &found
	}
	return *k.onExperts
}

// A joining is how the layers of an expert become parameters of all experts.
type joining struct{ gate, up, down string }

var (
	asMixtral = joining{"w1", "w3", "w2"}
	asQwen    = joining{"gate_proj", "up_proj", "down_proj"}
)

// joinings are the model types whose configs PEFT rewrites for joined experts.
// Follows peft 0.21.2 utils/transformers_weight_conversion.py and transformers 5.23
// conversion_mapping.py.
var joinings = map[string]joining{
	"mixtral": asMixtral, "minimax": asMixtral, "minimax_m2": asMixtral,
	"afmoe": asQwen, "cohere2_moe": asQwen, "deepseek_v2": asQwen, "deepseek_v3": asQwen, "deepseek_v32": asQwen, "dots1": asQwen,
	"ernie4_5_moe": asQwen, "exaone_moe": asQwen, "flex_olmo": asQwen, "glm4_moe": asQwen, "glm4_moe_lite": asQwen, "glm4v_moe": asQwen,
	"glm_moe_dsa": asQwen, "hunyuan_v1_moe": asQwen, "longcat_flash": asQwen, "olmoe": asQwen, "qwen3_moe": asQwen, "qwen3_next": asQwen,
	"qwen3_omni_moe": asQwen, "qwen3_omni_moe_text": asQwen, "qwen3_omni_moe_thinker": asQwen, "solar_open": asQwen,
}

// experts says of an adapter on single experts what PEFT makes of it: it joins
// them as it loads, but only whole.
func (k *check) experts() {
	if k.base == nil || k.c.Type != "LORA" {
		return
	}
	j, known := joinings[k.base.ModelType]
	has, lacks := k.halfExpert()
	switch {
	case known:
		k.join(j)
	case has != "" && (!k.base.certain || k.joinedInMemory()):
		k.half(has, lacks)
	case k.base.certain && k.joinedInMemory():
		p := k.expertProblem("the adapter is on single experts, which transformers joins for model type %s and PEFT does not: it leaves their tensors out", diag.Name(k.base.ModelType))
		p.Cause = "the adapter was trained with transformers before version 5; PEFT converts such adapters of some model types only, and says nothing of others"
		k.res.Report.Add(p)
	}
}

// halfExpert returns the part of a pair that single experts of the file have, and
// the one that none has.
func (k *check) halfExpert() (has, lacks string) {
	parts := make(map[string]bool)
	for path := range k.modules {
		if isExpert(path) {
			parts[lastPart(path)] = true
		}
	}
	for _, j := range []joining{asMixtral, asQwen} {
		switch {
		case parts[j.gate] && !parts[j.up]:
			return j.gate, j.up
		case parts[j.up] && !parts[j.gate]:
			return j.up, j.gate
		}
	}
	return "", ""
}

func (k *check) half(has, lacks string) {
	p := k.expertProblem("the adapter is on %s of experts and not on %s, which are one parameter of the base: PEFT refuses it", has, lacks)
	p.Want, p.Got = fmt.Sprintf("%s and %s", has, lacks), has
	p.Cause = "the adapter was trained with transformers before version 5, which kept the two apart"
	if p.Severity = diag.Error; !k.base.certain {
		p.Severity = diag.Warning
		p.Cause += "; this model_type is not known here, it may keep them apart still"
	}
	k.res.Report.Add(p)
}

// joinedInMemory reports whether a module of the file on a single expert is part of
// a joined parameter of the base.
func (k *check) joinedInMemory() bool {
	for path := range k.modules {
		if isExpert(path) && k.base.views[0].find(plainPath(path)) == nil {
			return true
		}
	}
	return false
}

func (k *check) expertProblem(format string, args ...any) diag.Problem {
	p := diag.New(diag.AdapterExperts, format, args...)
	p.File = ConfigFile
	p.Fix = "merge it into the base: safeckpt merge-lora --base DIR --adapter DIR OUT; or load it with transformers before version 5"
	return p
}

// join follows _convert_peft_config_moe: entries of target_modules that name a
// layer of an expert select the joined parameters in place of modules.
func (k *check) join(j joining) {
	gate, up, down := k.targetsLeaf(j.gate), k.targetsLeaf(j.up), k.targetsLeaf(j.down)
	switch {
	case gate != up:
		if up {
			k.half(j.up, j.gate)
		} else {
			k.half(j.gate, j.up)
		}
		return
	case gate && !down && k.hasExperts():
		p := k.expertProblem("target_modules selects %s and %s without %s: PEFT joins them under a name that it then does not look for, and changes nothing", j.gate, j.up, j.down)
		p.Want, p.Got = strings.Join([]string{j.gate, j.up, j.down}, ", "), j.gate+", "+j.up
		p.Cause = "PEFT expects the joined tensors of both parameters of the experts"
		k.res.Report.Add(p)
	}
	if !gate && !down {
		return
	}
	var lost []string
	for path := range k.modules {
		if last := lastPart(path); (last == j.gate || last == j.up || last == j.down) && !isExpert(path) {
			lost = append(lost, path)
		}
	}
	if len(lost) > 0 {
		slices.SortFunc(lost, diag.CompareNames)
		p := k.expertProblem("PEFT leaves out the tensors of %s outside of experts, such as %s: it takes the entries of target_modules for those of experts", diag.Count(len(lost), "module"), diag.Name(lost[0]))
		p.Cause = "the adapter was trained with transformers before version 5; to load it PEFT rewrites target_modules for joined experts, dense layers and shared experts with them"
		k.res.Report.Add(p)
	}
}

// targetsLeaf reports whether target_modules selects layers of that name.
func (k *check) targetsLeaf(leaf string) bool {
	if !k.c.Targets.isRegex() {
		return slices.ContainsFunc(k.c.Targets.List, func(e string) bool { return e == leaf || strings.HasSuffix(e, "."+leaf) })
	}
	if k.c.Targets.allLinear() {
		return true
	}
	for path := range k.modules {
		if lastPart(path) == leaf {
			if _, ok := k.match.target(path); ok {
				return true
			}
		}
	}
	return false
}
