package hfconfig

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A ConfigError says which key of config.json cannot be used, and why.
type ConfigError struct {
	Key     string // dotted for sub-configs; "" if it is not one key
	Message string
}

func (e *ConfigError) Error() string {
	if e.Key == "" {
		return "config.json: " + e.Message
	}
	return fmt.Sprintf("config.json: %s: %s", e.Key, e.Message)
}

// An env is one object of config.json seen as the config of a model type: its
// keys with aliases, defaults and derived values. Keys are computed when they
// are asked for.
type env struct {
	reg     *Registry
	model   *model
	object  map[string]any
	path    string // of the object in config.json, "" or "text_config."
	auto    bool   // its type was chosen by the config
	checked bool   // by check
	usual   string // of an auto sub-config the type that its parent names
	memo    map[string]*memo
	subs    map[string]*env
	frame   *frame
	depth   int
}

type memo struct {
	v   value
	err error
}

func newEnv(r *Registry, m *model, object map[string]any, f *frame) *env {
	return &env{reg: r, model: m, object: object, memo: map[string]*memo{}, subs: map[string]*env{}, frame: f}
}

// lookup returns the value of a key, dotted if it stands in a sub-config.
func (e *env) lookup(k string) (value, error) {
	if first, rest, dotted := strings.Cut(k, "."); dotted {
		sub, err := e.sub(first)
		if err != nil {
			return value{}, err
		}
		if sub == nil {
			return value{}, &ConfigError{e.path + first, "null, but the model needs " + e.path + k}
		}
		return sub.lookup(sub.spelling(rest, e.model.keys[first].sub))
	}
	if key := e.model.keys[k]; key != nil {
		k = key.name
	}
	m := e.memo[k]
	if m == nil {
		m = &memo{err: &ConfigError{e.path + k, "its value depends on itself"}}
		e.memo[k] = m
		m.v, m.err = e.compute(k)
	}
	return m.v, m.err
}

// spelling returns the type's own name of a key that a parent calls as the type
// does which it takes by default.
func (e *env) spelling(name string, parent *subConfig) string {
	if !parent.auto || e.model.keys[name] != nil || strings.Contains(name, ".") {
		return name
	}
	usual, err := e.reg.model(parent.modelType)
	if err != nil || usual.keys[name] == nil {
		return name
	}
	k := usual.keys[name]
	for _, other := range append([]string{k.name}, k.aliases...) {
		if e.model.keys[other] != nil {
			return other
		}
	}
	return name
}

func (e *env) compute(name string) (value, error) {
	k := e.model.keys[name]
	if k == nil {
		if name == "num_labels" {
			return e.numLabels()
		}
		if v, ok := e.common(name); ok {
			return v, nil
		}
		if e.auto {
			if v, ok := e.object[name]; ok { // transformers keeps keys that the type does not declare
				return jsonValue(v), nil
			}
			return value{}, &ConfigError{strings.TrimSuffix(e.path, "."), fmt.Sprintf("a config of type %s has no %s, which the model needs", e.model.name, name)}
		}
		return value{}, fmt.Errorf("the schema of %s uses key %s and does not describe it", e.model.name, name)
	}
	if k.sub != nil { // whether it is there can be asked, and what its keys are
		sub, err := e.sub(name)
		if err != nil || sub == nil {
			return value{}, err
		}
		return objectValue(sub.object), nil
	}
	if k.always != nil {
		return e.evaluate(k.always)
	}
	v, given, err := e.given(k)
	if err != nil {
		return value{}, err
	}
	if !given {
		if k.absent == nil {
			return value{}, &ConfigError{e.path + name, "the key is absent, and " + e.model.name + " has no default for it"}
		}
		if v, err = e.evaluate(k.absent); err != nil {
			return value{}, err
		}
	}
	if v.kind == kindNull && k.null != nil {
		v, err = e.evaluate(k.null)
	}
	if k.layerTypes() {
		v = renamedLayerTypes(v)
	}
	if err == nil {
		err = e.sameInAllLayers(k, v)
	}
	return v, err
}

// sameInAllLayers returns an error if the config gives single layers another
// value of k, in a way that transformers has for all model types, and the schema
// does not say what comes of it.
func (e *env) sameInAllLayers(k *key, v value) error {
	layers, ok := e.object["per_layer_config"].(map[string]any)
	if !ok || e.model.keys["per_layer_config"] != nil {
		return nil
	}
	for _, n := range slices.Sorted(maps.Keys(layers)) {
		layer, _ := layers[n].(map[string]any)
		for _, spelling := range append([]string{k.name}, k.aliases...) {
			if x, given := layer[spelling]; given && !equal(jsonValue(x), v) {
				return &UnknownError{e.model.name, "its schema does not tell layers apart, and " + e.path + "per_layer_config gives some of them another " + spelling}
			}
		}
		if skip, _ := layer["skip"].([]any); len(skip) > 0 {
			return &UnknownError{e.model.name, "its schema has no layers without their parts, and " + e.path + "per_layer_config has"}
		}
	}
	return nil
}

// oldLayerTypes are layer types of older files and what transformers calls them
// now (configuration_utils.py, _LEGACY_LAYER_TYPE_REMAP).
var oldLayerTypes = map[string]string{
	"mamba":                     "linear_attention",
	"attention":                 "full_attention",
	"deepseek_sparse_attention": "indexed_attention",
	"qwen_sparse_attention":     "indexed_attention",
}

// layerTypes reports whether transformers renames old layer types under k, under
// any of its spellings.
func (k *key) layerTypes() bool {
	is := func(s string) bool { return s == "layer_types" || s == "mtp_layer_types" }
	return is(k.name) || slices.ContainsFunc(k.aliases, is)
}

func renamedLayerTypes(v value) value {
	if v.kind != kindList {
		return v
	}
	v.list = slices.Clone(v.list)
	for i, x := range v.list {
		if now, ok := oldLayerTypes[x.s]; ok && x.kind == kindString {
			v.list[i] = stringValue(now)
		}
	}
	return v
}

// given returns what the file says of k. As in transformers, an alias wins over
// the name itself.
func (e *env) given(k *key) (v value, ok bool, err error) {
	for _, spelling := range append([]string{k.name}, k.aliases...) {
		if x, found := e.object[spelling]; found {
			v, ok = jsonValue(x), true
			if err := e.checkType(k, spelling, v); err != nil {
				return value{}, false, err
			}
		}
	}
	return v, ok, nil
}

// checkType refuses what transformers' strict config classes refuse and what
// would otherwise be misread, such as "false" for a flag.
func (e *env) checkType(k *key, spelling string, v value) error {
	def, ok := k.absent.(literal)
	if !ok || v.kind == kindNull {
		return nil
	}
	want := ""
	switch {
	case def.v.kind == kindBool && v.kind != kindBool:
		want = "true or false"
	case def.v.kind == kindInt && v.kind != kindInt && v.kind != kindList:
		want = "a whole number"
	case def.v.kind == kindFloat && v.kind != kindInt && v.kind != kindFloat && v.kind != kindList:
		want = "a number"
	case def.v.kind == kindList && v.kind != kindList && v.kind != kindInt:
		want = "a list"
	}
	if want == "" {
		return nil
	}
	return &ConfigError{e.path + spelling, fmt.Sprintf("want %s, found %s", want, v)}
}

func (e *env) evaluate(x expr) (value, error) {
	if err := e.frame.spend(1); err != nil {
		return value{}, err
	}
	if e.depth++; e.depth > maxNesting {
		return value{}, errors.New("keys of the schema depend on each other in too long a chain")
	}
	defer func() { e.depth-- }()
	return (&scope{env: e, frame: e.frame}).value(x)
}

// common returns a key that configs of all types have, as PreTrainedConfig
// (transformers 5.23, configuration_utils.py) defaults it, for types whose
// schema does not describe it. What is built of parts of any type asks for it.
func (e *env) common(name string) (v value, ok bool) {
	switch name {
	case "model_type":
		return stringValue(e.model.name), true
	case "is_decoder", "is_encoder_decoder", "add_cross_attention":
		v = boolValue(false)
	case "cross_attention_hidden_size", "output_hidden_size":
	default:
		return value{}, false
	}
	if x, given := e.object[name]; given {
		v = jsonValue(x)
	}
	return v, true
}

// numLabels follows PreTrainedConfig: num_labels if it is there, else the number
// of entries of id2label, else 2.
func (e *env) numLabels() (value, error) {
	if x, ok := e.object["num_labels"]; ok {
		v := jsonValue(x)
		if v.kind != kindInt {
			return value{}, &ConfigError{e.path + "num_labels", fmt.Sprintf("want a whole number, found %s", v)}
		}
		return v, nil
	}
	switch x := e.object["id2label"].(type) {
	case nil:
		return intValue(2), nil
	case map[string]any:
		return intValue(int64(len(x))), nil
	default:
		return value{}, &ConfigError{e.path + "id2label", fmt.Sprintf("want an object, found %s", jsonValue(x))}
	}
}

// check evaluates what the model wants of its config.
func (e *env) check() error {
	if e.checked {
		return nil
	}
	e.checked = true // an error ends all
	for _, q := range e.model.requires {
		v, err := e.evaluate(q.cond)
		switch {
		case err != nil:
			return err
		case v.truth():
		case q.known:
			return &UnknownError{e.model.name, "only configs in which " + q.text + " are known"}
		default:
			return &ConfigError{strings.TrimSuffix(e.path, "."), "the model needs " + q.text + ", which does not hold here"}
		}
	}
	return nil
}

// sub returns the config that stands under a key, or nil if it is optional and
// not there.
func (e *env) sub(name string) (*env, error) {
	k := e.model.keys[name]
	if k != nil {
		name = k.name
	}
	if s, ok := e.subs[name]; ok {
		return s, nil
	}
	if k == nil || k.sub == nil {
		return nil, fmt.Errorf("the schema of %s uses the sub-config %s and does not describe it", e.model.name, name)
	}
	if strings.Count(e.path, ".") > 8 {
		return nil, &ConfigError{e.path + name, "sub-configs are nested too deep"}
	}
	object, path := k.sub.object, e.path+name+"."
	for _, spelling := range append([]string{name}, k.aliases...) {
		switch x := e.object[spelling].(type) {
		case nil:
		case map[string]any:
			object, path = x, e.path+spelling+"."
			if k.sub.over {
				object = maps.Clone(k.sub.object)
				maps.Copy(object, x)
			}
		default:
			return nil, &ConfigError{e.path + spelling, fmt.Sprintf("want an object, found %s", jsonValue(x))}
		}
	}
	if object == nil && k.sub.optional {
		e.subs[name] = nil
		return nil, nil
	}
	modelType := k.sub.modelType
	if t := text(object["model_type"]); k.sub.auto && t != "" {
		modelType = t
	}
	if object == nil && k.sub.self { // whose model_type is the parent's
		object, path = e.object, e.path
	}
	m, err := e.reg.model(modelType)
	if err != nil {
		return nil, err
	}
	s := newEnv(e.reg, m, object, e.frame)
	s.path, s.auto, s.usual = path, k.sub.auto, k.sub.modelType
	e.subs[name] = s
	return s, nil
}

// A scope is where an expression stands: a config and the local names.
type scope struct {
	env    *env
	frame  *frame
	locals *local
	depth  int // loop variables in use
}

type local struct {
	name string
	x    expr // a literal or slot
	next *local
}

func (s *scope) local(name string) (expr, bool) {
	for l := s.locals; l != nil; l = l.next {
		if l.name == name {
			return l.x, true
		}
	}
	return nil, false
}

// let returns a scope in which name means x.
func (s *scope) let(name string, x expr) *scope {
	c := *s
	c.locals = &local{name, x, s.locals}
	return &c
}

// loop returns a scope with one more variable.
func (s *scope) loop(v string) *scope {
	c := s.let(v, slot{s.depth, v})
	c.depth++
	return c
}

// value folds and computes an expression that depends on the config only.
func (s *scope) value(x expr) (value, error) { return x.fold(s).eval(s.frame) }
