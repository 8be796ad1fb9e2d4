package hfconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/pyjson"
)

// A Config is a parsed config.json. It is immutable; any number of goroutines
// may use it.
type Config struct {
	root   map[string]any
	report diag.Report
}

// maxConfigBytes bounds a config.json. The largest known have some 100 kB.
const maxConfigBytes = 16 << 20

// Parse parses a config.json as Python's json.load does: NaN and Infinity are
// numbers, of a key that occurs twice the last counts (see [Config.Report]).
func Parse(config []byte) (*Config, error) {
	if len(config) > maxConfigBytes {
		return nil, fmt.Errorf("config.json: %d bytes, more than the limit of %d", len(config), maxConfigBytes)
	}
	tree, dups, err := pyjson.Parse(config)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	root, ok := tree.(map[string]any)
	if !ok {
		return nil, errors.New("config.json: want an object, as save_pretrained writes it")
	}
	c := &Config{root: root}
	for _, d := range dups {
		p := diag.New(diag.DuplicateName, "key %s stands in config.json twice", diag.Name(d.Name))
		p.File, p.Offset = "config.json", diag.At(d.Offset)
		p.Cause = "the file was edited by hand or by a script that joins text"
		p.Fix = "remove the one that is not meant; the last one counts"
		c.report.Add(p)
	}
	return c, nil
}

// Report returns what is odd about the file though it can be used.
func (c *Config) Report() *diag.Report { return &c.report }

// ModelType returns model_type, or "".
func (c *Config) ModelType() string { return text(c.root["model_type"]) }

// Architectures returns the class names in architectures, or nil. The first one
// is the class that the weights belong to.
func (c *Config) Architectures() []string {
	list, _ := c.root["architectures"].([]any)
	var out []string
	for _, x := range list {
		if s := text(x); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// DType returns the dtype that the weights should have in torch's words, such as
// "bfloat16", or "" if the config does not say.
func (c *Config) DType() string {
	for _, k := range []string{"dtype", "torch_dtype"} { // the second is the name before transformers 5
		if s := text(c.root[k]); s != "" && s != "auto" {
			return s
		}
	}
	return ""
}

// Quantization returns the quant_method of quantization_config, "" if there is
// none: then the weights are stored as they are.
func (c *Config) Quantization() string {
	q := c.quantization().object
	switch {
	case q == nil:
		return ""
	case q["load_in_8bit"] == true || q["load_in_4bit"] == true: // bitsandbytes did not always say so
		return "bitsandbytes"
	}
	if s := text(q["quant_method"]); s != "" {
		return s
	}
	return "unknown"
}

// quantization returns quantization_config, that of text_config if there is none
// outside, or compression_config, the name before transformers 4.45.
func (c *Config) quantization() settings {
	at := func(object map[string]any, path string) (s settings, ok bool) {
		for _, key := range []string{"quantization_config", "compression_config"} {
			if q, ok := object[key].(map[string]any); ok {
				return settings{q, path + key + ".", &clock{}}, true
			}
		}
		return s, false
	}
	if s, ok := at(c.root, ""); ok {
		return s
	}
	inner, _ := c.root["text_config"].(map[string]any)
	s, _ := at(inner, "text_config.")
	return s
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// jsonValue converts a value of the JSON tree.
func jsonValue(v any) value {
	switch v := v.(type) {
	case nil:
		return value{}
	case bool:
		return boolValue(v)
	case float64:
		return floatValue(v)
	case string:
		return stringValue(v)
	case json.Number:
		if i, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return intValue(i)
		}
		f, err := strconv.ParseFloat(string(v), 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) || f == math.Trunc(f) && !isFloat(string(v)) {
			return value{kind: kindOther, s: "a number beyond 64 bits"}
		}
		return floatValue(f)
	case []any:
		list := make([]value, len(v))
		for i, x := range v {
			list[i] = jsonValue(x)
		}
		return value{kind: kindList, list: list}
	case map[string]any:
		if f, ok := v["__float__"].(string); ok && len(v) == 1 { // how transformers 5 writes what JSON lacks
			switch f {
			case "Infinity":
				return floatValue(math.Inf(1))
			case "-Infinity":
				return floatValue(math.Inf(-1))
			case "NaN":
				return floatValue(math.NaN())
			}
		}
		return objectValue(v)
	default:
		return value{kind: kindOther, s: fmt.Sprintf("%T", v)}
	}
}

func objectValue(object map[string]any) value {
	return value{kind: kindOther, s: "an object", object: object}
}

// isFloat reports whether a JSON number is a float to Python.
func isFloat(s string) bool {
	for i := range len(s) {
		if s[i] == '.' || s[i] == 'e' || s[i] == 'E' {
			return true
		}
	}
	return false
}
