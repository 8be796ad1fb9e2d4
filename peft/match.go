package peft

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/pyregexp"
)

// A matcher says which modules a config adapts. Follows peft 0.21.2
// tuners/tuners_utils.py, check_target_module_exists. It belongs to one check.
type matcher struct {
	c           *Config
	targets     names
	exclude     names
	feedforward names              // feedforward_modules, if it is a regular expression
	saved       []*pyregexp.Regexp // modules that modules_to_save keeps adapters off
	layers      []*pyregexp.Regexp // whose group idx is the layer index; empty if layers do not matter
	problems    []diag.Problem
	tooSlow     map[*pyregexp.Regexp]bool
	params      map[string]bool // target_parameters
	indices     map[int]bool    // layers_to_transform
}

// names is a compiled Names.
type names struct {
	entries map[string]bool
	re      *pyregexp.Regexp
	dead    bool // a regex that could not be used
}

func newMatcher(c *Config) *matcher {
	m := &matcher{c: c, tooSlow: make(map[*pyregexp.Regexp]bool)}
	m.targets, m.exclude = m.compileNames("target_modules", c.Targets), m.compileNames("exclude_modules", c.Exclude)
	m.feedforward = m.compileNames("feedforward_modules", c.Feedforward)
	m.params, m.indices = set(c.TargetParameters...), make(map[int]bool)
	for _, n := range c.LayersToTransform {
		m.indices[n] = true
	}
	for _, entry := range c.ModulesToSave {
		if re := m.compile("modules_to_save", entry, `(^|.*\.)`+entry+`($|\..*)`); re != nil {
			m.saved = append(m.saved, re)
		}
	}
	switch {
	case len(c.LayersToTransform) == 0:
	case len(c.LayersPattern) == 0:
		m.layers = append(m.layers, m.compile("layers_pattern", "", `.*?\.[^.]*\.(?P<idx>\d+)\.`))
	default:
		for _, pattern := range c.LayersPattern {
			if re := m.compile("layers_pattern", pattern, `(?:^|.*?\.)`+pattern+`\.(?P<idx>\d+)\.`); re != nil {
				m.layers = append(m.layers, re)
			}
		}
	}
	return m
}

func (m *matcher) compileNames(field string, n Names) names {
	if !n.isRegex() {
		entries := make(map[string]bool, len(n.List))
		for _, e := range n.List {
			entries[e] = true
		}
		return names{entries: entries}
	}
	if field == "target_modules" && n.allLinear() {
		return names{}
	}
	re, err := pyregexp.FullMatch(n.Regex)
	if err != nil {
		m.unusable(field, n.Regex, err)
	}
	return names{re: re, dead: err != nil}
}

// compile returns nil, and remembers why, if a pattern cannot be used.
func (m *matcher) compile(field, entry, pattern string) *pyregexp.Regexp {
	re, err := pyregexp.Match(pattern)
	if err != nil {
		m.unusable(field, entry, err)
		return nil
	}
	return re
}

func (m *matcher) unusable(field, entry string, err error) {
	p := diag.New(diag.AdapterRegex, "%s: %s cannot be used as a regular expression: %v", field, diag.Name(entry), err)
	p.File = ConfigFile
	p.Fix = "correct the expression; it is one of Python's re module"
	if errors.Is(err, pyregexp.ErrTooSlow) {
		p.Fix = "write it without nested repetition"
	}
	m.problems = append(m.problems, p)
}

// maxSlow is how many patterns may be too slow before no more are tried.
const maxSlow = 8

// match applies a pattern; one that was too slow once is not tried again.
func (m *matcher) match(re *pyregexp.Regexp, field, s string) bool {
	if m.tooSlow[re] || len(m.tooSlow) >= maxSlow {
		return false
	}
	ok, err := re.Match(s)
	if err != nil {
		m.slow(re, field, err)
	}
	return ok
}

func (m *matcher) slow(re *pyregexp.Regexp, field string, err error) {
	m.tooSlow[re] = true
	m.unusable(field, "a pattern", err)
}

// suffixEntry returns the entry that a name equals or ends with after a dot.
// The longest is returned; which one it is does not matter to PEFT.
func suffixEntry(entries map[string]bool, name string) (string, bool) {
	for rest := name; ; {
		if entries[rest] {
			return rest, true
		}
		_, after, ok := strings.Cut(rest, ".")
		if !ok {
			return "", false
		}
		rest = after
	}
}

func (m *matcher) excluded(module string) bool {
	if m.exclude.re != nil && m.match(m.exclude.re, "exclude_modules", module) {
		return true
	}
	if _, ok := suffixEntry(m.exclude.entries, module); ok {
		return true
	}
	return slices.ContainsFunc(m.saved, func(re *pyregexp.Regexp) bool { return m.match(re, "modules_to_save", module) })
}

// target returns the entry of target_modules that selects the module, and
// whether one does. For a regular expression the entry is the expression.
func (m *matcher) target(module string) (entry string, ok bool) {
	if m.excluded(module) {
		return "", false
	}
	if re := m.targets.re; re != nil {
		return m.c.Targets.Regex, m.match(re, "target_modules", module)
	}
	entry, ok = suffixEntry(m.targets.entries, module)
	if !ok || entry == module { // a whole name is not held against the layers
		return entry, ok
	}
	return entry, m.layerWanted(module)
}

func (m *matcher) layerWanted(module string) bool {
	if len(m.indices) == 0 {
		return true
	}
	for _, re := range m.layers {
		if m.tooSlow[re] || len(m.tooSlow) >= maxSlow {
			continue
		}
		text, ok, err := re.Group(module, "idx")
		if err != nil {
			m.slow(re, "layers_pattern", err)
		}
		if ok {
			n, err := strconv.Atoi(text)
			return err == nil && m.indices[n]
		}
	}
	return false
}

// parameter returns the entry of target_parameters that selects a parameter.
func (m *matcher) parameter(name string) (entry string, ok bool) {
	return suffixEntry(m.params, name)
}
