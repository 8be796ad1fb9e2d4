package peft

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/pyjson"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// value returns a field's value as pyjson.Parse gives it; nil if absent or null.
func (c *Config) value(field string) any {
	raw, ok := c.fields[field]
	if !ok {
		return nil
	}
	v, _, err := pyjson.Parse(raw)
	if err != nil {
		return nil // the whole text has parsed
	}
	return v
}

// show renders a value for a message.
func show(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v) // NaN and Infinity
	}
	return diag.Name(string(text))
}

func (c *Config) wrongType(field, want string, v any) {
	c.invalid(field, want, show(v), "correct "+field+" in adapter_config.json")
}

func (c *Config) str(field, absent string) string {
	switch v := c.value(field).(type) {
	case nil:
		return absent
	case string:
		return v
	default:
		c.wrongType(field, "a string", v)
		return absent
	}
}

// truth returns a flag as Python's if would see it.
func (c *Config) truth(field string, absent bool) bool {
	if !c.has(field) {
		return absent
	}
	switch v := c.value(field).(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case float64:
		return true // NaN, Infinity
	case json.Number:
		f, err := v.Float64()
		return err != nil || f != 0
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return false
}

// integer returns an int. Python's True is 1; 8.0 is no int.
func integer(v any) (int, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case json.Number:
		n, err := strconv.ParseInt(string(v), 10, 32)
		return int(n), err == nil
	}
	return 0, false
}

func number64(v any) (float64, bool) {
	if n, ok := integer(v); ok {
		return float64(n), true
	}
	switch v := v.(type) {
	case float64:
		return v, true
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	}
	return 0, false
}

// int returns an integer field; absent is what PEFT takes if it is not there.
func (c *Config) int(field string, absent int) int {
	if !c.has(field) {
		return absent
	}
	n, ok := integer(c.value(field))
	if !ok {
		return absent
	}
	return n
}

// maxEntries bounds the lists whose entries are compared with every module one
// by one, and the patterns. target_modules may be longer.
const maxEntries = 4096

func (c *Config) strings(field string, v any) []string {
	list, ok := v.([]any)
	if field != "target_modules" && field != "exclude_modules" && len(list) > maxEntries {
		c.invalid(field, fmt.Sprintf("a list of at most %d entries", maxEntries), fmt.Sprintf("one of %d", len(list)), "shorten "+field)
		return nil
	}
	out := make([]string, 0, len(list))
	for _, x := range list {
		s, isString := x.(string)
		ok = ok && isString
		out = append(out, s)
	}
	if !ok {
		c.wrongType(field, "a list of strings", v)
		return nil
	}
	return out
}

// stringList returns a field that is a string or a list of them; nil if neither.
func (c *Config) stringList(field string) []string {
	switch v := c.value(field).(type) {
	case nil:
		return nil
	case string:
		if v == "" {
			return nil
		}
		if field == "target_parameters" {
			c.wrongType(field, "a list of strings", v)
		}
		return []string{v}
	default:
		return c.strings(field, v)
	}
}

func (c *Config) names(field string) Names {
	switch v := c.value(field).(type) {
	case nil:
		return Names{}
	case string:
		return Names{Set: true, Regex: v}
	default:
		list := c.strings(field, v)
		return Names{Set: list != nil, List: list}
	}
}

// intList returns a field that is an int or a list of them; nil if it is empty.
func (c *Config) intList(field string) []int {
	v := c.value(field)
	if v == nil {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []int
	for _, x := range list {
		n, ok := integer(x)
		if !ok {
			c.wrongType(field, "an integer or a list of them", v)
			return nil
		}
		out = append(out, n)
	}
	return out
}

// ordered decodes an object and keeps the order of its names.
func ordered(raw []byte) (names []string, values []any, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, false
	}
	for dec.More() {
		t, err := dec.Token()
		name, isName := t.(string)
		var v any
		if err != nil || !isName || dec.Decode(&v) != nil {
			return nil, nil, false
		}
		if i := slices.Index(names, name); i >= 0 { // as in a dict: the first place, the last value
			values[i] = v
			continue
		}
		names, values = append(names, name), append(values, v)
	}
	return names, values, true
}
