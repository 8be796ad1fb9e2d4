package peft

import (
	"slices"
	"strconv"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// variants are the fields that turn plain LoRA into something else, with what
// they do. Follows peft 0.21.2 tuners/lora/variants.py.
var variants = []struct{ field, effect string }{
	{"alora_invocation_tokens", "the adapter acts only after certain tokens and cannot be merged"},
	{"arrow_config", "other adapters are mixed at run time and nothing can be merged"},
	{"kasa_config", "loading truncates the base by an SVD"},
	{"layer_replication", "layers of the base are repeated, and the merged model has more of them"},
	{"monteclora_config", "weights are sampled"},
	{"use_bdlora", "A or B is block-diagonal"},
	{"use_qalora", "inputs are pooled, for a GPTQ base"},
	{"velora_config", "only training is changed"},
}

// readLoRA reads the fields of LoraConfig beyond rank and targets.
func (c *Config) readLoRA() {
	c.readTokenIndices()
	if c.Type != "LORA" {
		return
	}
	c.RSLoRA = c.truth("use_rslora", false)
	c.DoRA, c.LoRABias = c.truth("use_dora", false), c.truth("lora_bias", false)
	c.readReplication()
	for _, v := range variants {
		if v.field == "alora_invocation_tokens" && !c.isNull(v.field) || c.truth(v.field, false) {
			c.Variants = append(c.Variants, v.field)
			c.notPlain(v.field, v.field+" is set", v.effect)
		}
	}
	if !slices.Contains([]string{"none", "all", "lora_only"}, c.Bias) {
		c.invalid("bias", "none, all or lora_only", diag.Name(c.Bias), `set bias to "none" if the adapter holds no biases`)
	}
	if c.LoRABias && c.DoRA {
		c.invalid("lora_bias", "false when use_dora is true", "true", "set the one that the adapter was not trained with to false")
	}
	switch v := c.value("init_lora_weights").(type) {
	case string:
		c.Init = v
	default:
		c.Init = strconv.FormatBool(c.truth("init_lora_weights", true))
	}
	if decomposes(c.Init) {
		c.notPlain("init_lora_weights", "init_lora_weights is "+diag.Name(c.Init),
			"loading runs the decomposition of the base again and takes its part out of the base before A and B are added, so the file is no plain LoRA")
	}
}

// decomposes reports whether loading an adapter of this init changes the base.
// Follows peft 0.21.2 tuners/lora/layer.py, update_layer.
func decomposes(init string) bool {
	return strings.HasPrefix(init, "pissa") || strings.HasPrefix(init, "corda") || strings.EqualFold(init, "olora") || init == "loftq"
}

func (c *Config) notPlain(field, what, effect string) {
	p := c.add(diag.AdapterNotPlain, "%s: %s", what, effect)
	p.Got = field
	p.Fix = "load it with PEFT only; other programs must not add B*A to the base as for plain LoRA"
	if field == "init_lora_weights" {
		p.Fix = "to get a plain LoRA, save with save_pretrained(..., path_initial_model_for_weight_conversion=DIR)"
	}
	c.report.Add(p)
}

func (c *Config) readTokenIndices() {
	const field = "trainable_token_indices"
	switch v := c.value(field).(type) {
	case nil:
	case []any:
		c.TokenIndices = []TokenIndices{{Count: len(v), IDs: tokenIDs(v)}}
	case map[string]any:
		if len(v) > maxEntries {
			c.wrongType(field, "rows of a few modules", len(v))
			return
		}
		for _, module := range sortedKeys(v) {
			ids, ok := v[module].([]any)
			if !ok {
				c.wrongType(field, "lists of token numbers", v)
				return
			}
			c.TokenIndices = append(c.TokenIndices, TokenIndices{module, len(ids), tokenIDs(ids)})
		}
	default:
		c.wrongType(field, "a list of token numbers, or an object of them", v)
	}
}

// tokenIDs returns nil if one of a list is no row of an embedding.
func tokenIDs(list []any) []uint64 {
	ids := make([]uint64, 0, len(list))
	for _, x := range list {
		n, ok := integer(x)
		if !ok || n < 0 {
			return nil
		}
		ids = append(ids, uint64(n))
	}
	return ids
}

// maxReplicated bounds the layers that layer_replication makes.
const maxReplicated = 10_000

func (c *Config) readReplication() {
	const field = "layer_replication"
	v := c.value(field)
	list, ok := v.([]any)
	total := 0
	for _, x := range list {
		pair, isPair := x.([]any)
		if ok = ok && isPair && len(pair) == 2; !ok {
			break
		}
		start, ok1 := integer(pair[0])
		end, ok2 := integer(pair[1])
		if ok = ok1 && ok2 && start >= 0 && end >= start && end-start <= maxReplicated-total; !ok {
			break
		}
		total += end - start
		c.LayerReplication = append(c.LayerReplication, [2]int{start, end})
	}
	if !ok && v != nil {
		c.LayerReplication = nil
		c.wrongType(field, "a list of [start, end) pairs of layers", v)
	}
}
