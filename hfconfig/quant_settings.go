package hfconfig

import "fmt"

// settings is a quantization_config.
type settings struct {
	object map[string]any
	path   string
	clock  *clock
}

func (s settings) bad(key, want string) error {
	return &ConfigError{s.path + key, fmt.Sprintf("want %s, found %s", want, jsonValue(s.object[key]))}
}

// size returns a whole number from least to most; def stands for absent and null.
func (s settings) size(key string, def, least, most int64) (int64, error) {
	v := jsonValue(s.object[key])
	switch {
	case v.kind == kindNull:
		return def, nil
	case v.kind == kindFloat && v.f == float64(int64(v.f)):
		v = intValue(int64(v.f))
	}
	if v.kind != kindInt || v.i < least || v.i > most {
		return 0, s.bad(key, fmt.Sprintf("a whole number from %d to %d", least, most))
	}
	return v.i, nil
}

func (s settings) flag(key string) bool { return jsonValue(s.object[key]).truth() }

func (s settings) text(key, def string) string {
	if t := text(s.object[key]); t != "" {
		return t
	}
	return def
}

// strings returns a list of strings; ok is false if it is absent or null.
func (s settings) strings(key string) (list []string, ok bool, err error) {
	switch x := s.object[key].(type) {
	case nil:
		return nil, false, nil
	case string:
		return []string{x}, true, nil
	case []any:
		for _, v := range x {
			t, isText := v.(string)
			if !isText {
				return nil, false, s.bad(key, "a list of strings")
			}
			list = append(list, t)
		}
		return list, true, nil
	}
	return nil, false, s.bad(key, "a list of strings")
}
