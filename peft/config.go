package peft

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/pyjson"
)

// Names of the files that an adapter consists of, and that problems name.
const (
	ConfigFile  = "adapter_config.json"
	WeightsFile = "adapter_model.safetensors"
)

// A Config is a parsed adapter_config.json. It is not changed after ParseConfig
// and safe for concurrent use. Fields that PEFT would take a default for when
// they are absent hold that default. Follows peft 0.21.2, tuners/lora/config.py.
type Config struct {
	Type          string // peft_type, such as "LORA"; "" if absent
	Version       string // peft_version, "" if absent
	BaseModelName string // base_model_name_or_path: informative, never checked by PEFT
	TaskType      string // such as "CAUSAL_LM", "" if absent

	Rank          int       // r, or the number that does the same for another type, such as n_frequency of FourierFT
	Alpha         float64   // lora_alpha or alpha; of LoRA the scaling is Alpha/Rank
	RankPattern   []Pattern // values of Rank for single modules, in the order of the file: the first that matches wins
	AlphaPattern  []Pattern
	RSLoRA        bool // scaling is Alpha/sqrt(Rank)
	DoRA          bool
	LoRABias      bool // lora_B has a bias
	FanInFanOut   bool
	TieWeights    bool   // ensure_weight_tying
	Bias          string // none, all or lora_only (or <type>_only): which biases of the base are in the file
	Init          string // init_lora_weights: "true", "false" or the name of a method
	ModulesToSave []string

	Targets           Names // target_modules
	Feedforward       Names // feedforward_modules, of IA3
	Exclude           Names // exclude_modules
	LayersToTransform []int // nil means all
	LayersPattern     []string
	TargetParameters  []string
	TokenIndices      []TokenIndices // trainable_token_indices
	LayerReplication  [][2]int       // ranges [start, end) of base layers that are put one after the other

	// Variants lists the fields that are set and change the arithmetic, or the
	// tensors, such as kasa_config.
	Variants []string

	fields  map[string]json.RawMessage
	options map[string]int // see method.options
	ranks   map[string]int // of single modules, by name: AdaLoRA
	report  diag.Report
}

// Names is how PEFT selects modules: by a list, of which an entry matches a
// module's whole name or its end after a dot, or by a regular expression that
// must match the whole name.
type Names struct {
	Set   bool     // not absent and not null
	List  []string // if it is a list
	Regex string   // if it is a string; "all-linear" stands for every linear module
}

func (n Names) isRegex() bool { return n.Set && n.List == nil }

func (n Names) allLinear() bool { return strings.EqualFold(n.Regex, "all-linear") }

// String returns the names for display, a long list cut short.
func (n Names) String() string {
	switch {
	case !n.Set:
		return "null"
	case n.isRegex():
		return fmt.Sprintf("%q", n.Regex)
	}
	const room = 8
	s := fmt.Sprintf("%q", n.List[:min(len(n.List), room)])
	if more := len(n.List) - room; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// TokenIndices says which rows of an embedding are trained.
type TokenIndices struct {
	Module string // its name or the end of it; "" means the input embedding
	Count  int
	IDs    []uint64 // the rows; nil if one of them is none
}

// Report returns what ParseConfig found wrong with the config itself. It must
// not be added to.
func (c *Config) Report() *diag.Report { return &c.report }

// has reports whether the field is in the file, null included.
func (c *Config) has(field string) bool { _, ok := c.fields[field]; return ok }

// isNull reports whether the field is absent or null.
func (c *Config) isNull(field string) bool {
	raw, ok := c.fields[field]
	return !ok || string(raw) == "null"
}

// A ConfigError says that adapter_config.json is no JSON object at all. It
// matches the code of its problem, diag.AdapterConfigInvalid.
type ConfigError struct{ Problem diag.Problem }

func (e *ConfigError) Error() string {
	return "peft: " + ConfigFile + ": " + e.Problem.Message
}

// Is reports whether target is the problem's code.
func (e *ConfigError) Is(target error) bool { return target == error(e.Problem.Code) }

// maxConfig bounds adapter_config.json, in bytes. Large ones have a megabyte.
const maxConfig = 16 << 20

// ParseConfig parses adapter_config.json. Whatever PEFT would stumble over, or
// take silently although it changes the result, is in the Report of the config.
// The error is a *ConfigError if data is no JSON object.
func ParseConfig(data []byte) (*Config, error) {
	c := &Config{}
	var dups []pyjson.Duplicate
	err := fmt.Errorf("%d bytes, more than the limit of %d", len(data), maxConfig)
	if len(data) <= maxConfig {
		dups, err = pyjson.Unmarshal(data, &c.fields)
	}
	if err == nil && c.fields == nil {
		err = errors.New("want an object, found null")
	}
	if err != nil {
		p := diag.New(diag.AdapterConfigInvalid, "not usable as JSON: %v", err)
		p.File, p.Want, p.Got = ConfigFile, "a JSON object", "text that does not parse"
		var syntax *pyjson.SyntaxError
		if errors.As(err, &syntax) {
			p.Offset = diag.At(syntax.Offset)
		}
		p.Cause = "the file was cut while it was written or copied, or it is another file"
		p.Fix = "copy adapter_config.json again from where the adapter was trained"
		return nil, &ConfigError{p}
	}
	for _, d := range dups {
		p := c.add(diag.AdapterFieldTwice, "the name %s occurs twice in one object; the last one counts", diag.Name(d.Name))
		p.Offset = diag.At(d.Offset)
		c.report.Add(p)
	}
	c.read()
	return c, nil
}

// add returns a problem of the config, for the caller to complete and add.
func (c *Config) add(code diag.Code, format string, args ...any) diag.Problem {
	p := diag.New(code, format, args...)
	p.File = ConfigFile
	return p
}

// invalid adds a problem that PEFT fails on.
func (c *Config) invalid(field, want, got, fix string) {
	p := c.add(diag.AdapterConfigInvalid, "%s is %s, want %s", field, got, want)
	p.Want, p.Got, p.Fix = want, got, fix
	c.report.Add(p)
}

// read fills the typed fields.
func (c *Config) read() {
	c.Type = c.readType()
	c.Version = c.str("peft_version", "")
	c.BaseModelName = c.str("base_model_name_or_path", "")
	c.TaskType = c.str("task_type", "")
	if c.Type == "" {
		return
	}
	c.checkUnknown()
	c.Targets, c.Exclude = c.names("target_modules"), c.names("exclude_modules")
	c.ModulesToSave = c.stringList("modules_to_save")
	c.LayersToTransform = c.intList("layers_to_transform")
	c.LayersPattern = c.stringList("layers_pattern")
	c.TargetParameters = c.stringList("target_parameters")
	c.Bias = c.str("bias", "none")
	c.FanInFanOut = c.truth("fan_in_fan_out", false)
	c.TieWeights = c.truth("ensure_weight_tying", false)
	c.readLayers()
	c.readNumbers()
	c.readLoRA()
}

func (c *Config) readType() string {
	const fix = `add "peft_type": "LORA" (or the method that the adapter was trained with) to adapter_config.json`
	if c.isNull("peft_type") {
		c.invalid("peft_type", "a PEFT type such as \"LORA\"", "absent", fix)
		return ""
	}
	name := c.str("peft_type", "")
	if name == "" {
		return ""
	}
	if _, ok := fieldsOf[name]; !ok {
		p := c.add(diag.AdapterTypeUnknown, "peft_type %s is no type that PEFT 0.21 knows", diag.Name(name))
		p.Want, p.Got = "one of "+strings.Join(Types(), ", "), diag.Name(name)
		p.Cause = "a later version of PEFT, another library, or a slip in the file"
		p.Fix = "correct peft_type; the types are in upper case, such as LORA"
		c.report.Add(p)
		return ""
	}
	return name
}

// checkUnknown warns of fields that PEFT would drop. Follows peft config.py,
// from_peft_type.
func (c *Config) checkUnknown() {
	known := make(map[string]bool)
	for _, f := range append(strings.Fields(fieldsOf[c.Type]), commonFields...) {
		known[f] = true
	}
	for _, field := range sortedKeys(c.fields) {
		if known[field] {
			continue
		}
		p := c.add(diag.AdapterFieldUnknown, "the field %s is not one of the %s config of PEFT 0.21", diag.Name(field), c.Type)
		p.Cause = "the adapter was saved by a later version of PEFT, or by another library; PEFT drops the field, even if it changes the arithmetic"
		p.Fix = "load the adapter with the version of PEFT that wrote it"
		if c.Version != "" {
			p.Fix += ", " + diag.Name(c.Version)
		}
		c.report.Add(p)
	}
}

// commonFields are those of every type. Follows peft 0.21.2 config.py.
var commonFields = []string{"task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path",
	"revision", "inference_mode", "runtime_config"}

// readLayers reads what goes with layer indices. Follows __post_init__ of the
// config classes.
func (c *Config) readLayers() {
	if c.Targets.isRegex() && !c.Targets.allLinear() && !laxLayers[c.Type] {
		for _, f := range []string{"layers_to_transform", "layers_pattern"} {
			if !c.isNull(f) {
				c.invalid(f, "null when target_modules is a regular expression", "set", "say the layers in the expression and set "+f+" to null")
			}
		}
	}
	if len(c.LayersPattern) > 0 && c.isNull("layers_to_transform") {
		c.invalid("layers_pattern", "null when layers_to_transform is null", "set", "set layers_pattern to null")
	}
}

// laxLayers are the types that take layers_to_transform beside a regular
// expression, and leave it aside.
var laxLayers = set("BOFT", "GRALORA", "LOHA", "LOKR", "OFT", "RANDLORA", "VBLORA", "VERA")
