package hfconfig

import (
	"fmt"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// ahead is what config.json says of layers for multi-token prediction. They stand
// behind the model's layers; transformers leaves them out when it loads and
// saves, other programs guess tokens ahead with them.
type ahead struct {
	key   string // "" if there are none
	count int
	held  map[int]bool
}

var aheadKeys = [...]string{"num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules"}

func (c *Config) ahead() ahead {
	text, _ := c.root["text_config"].(map[string]any)
	for _, object := range []map[string]any{c.root, text} {
		for _, key := range aheadKeys {
			if v := jsonValue(object[key]); v.kind == kindInt && v.i > 0 && v.i <= 1000 {
				return ahead{key, int(v.i), make(map[int]bool)}
			}
		}
	}
	return ahead{}
}

// isAhead reports whether a tensor that the model has no place for is of such a
// layer.
func (c *comparing) isAhead(name string) bool {
	if c.ahead.key == "" {
		return false
	}
	c.survey()
	for prefix := range prefixes(name) {
		list, i, ok := listIndex(prefix)
		n := c.lists[list]
		if ok && n == 0 && strings.Contains(list, "mtp") { // Qwen3-Next: a part of its own
			c.ahead.held[i] = true
			return i < c.ahead.count
		}
		if ok && n > 0 && i >= n && i < n+c.ahead.count {
			c.ahead.held[i-n] = true
			return true
		}
	}
	return false
}

func (c *comparing) promisedAhead() {
	for _, t := range c.Tolerated { // by the class's own rules
		c.isAhead(t.Tensor)
	}
	a := &c.ahead
	if len(a.held) >= a.count {
		return
	}
	p := diag.New(diag.LayersAheadMissing, "config.json promises %d %s for multi-token prediction (%s), the checkpoint has %d of them",
		a.count, plural(a.count, "layer", "layers"), a.key, len(a.held))
	p.Want, p.Got = fmt.Sprint(a.count), fmt.Sprint(len(a.held))
	p.Cause = "transformers leaves these layers out when it loads and saves a model"
	p.Fix = "copy them from the original checkpoint if a program is to predict tokens ahead with them, else set " + a.key + " to 0"
	c.Report.Add(p)
}
