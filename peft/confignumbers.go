package peft

import (
	"fmt"
	"math"

	"github.com/safeckpt/safeckpt/diag"
)

// readNumbers reads what shapes and scaling of the type depend on: rank, alpha,
// their values for single modules, and the options.
func (c *Config) readNumbers() {
	m := methods[c.Type]
	if m == nil {
		c.Rank = c.int("r", 0)
		return
	}
	if m.rank.field != "" {
		c.readRank(m.rank)
	}
	if m.alpha.field != "" {
		c.readAlpha(m.alpha)
	}
	c.RankPattern, c.AlphaPattern = c.patterns(m.rank, true), c.patterns(m.alpha, false)
	c.options = make(map[string]int, len(m.options)+1)
	for _, field := range sortedKeys(m.options) {
		c.options[field] = m.options[field]
		v := c.value(field)
		if v == nil {
			continue
		}
		n, ok := integer(v)
		if !ok {
			c.wrongType(field, "an integer or a truth value", v)
			continue
		}
		c.options[field] = n
	}
	if m.read != nil {
		m.read(c)
	}
}

func (c *Config) readRank(f number) {
	c.Rank = c.int(f.field, f.absent)
	switch v := c.value(f.field); {
	case !c.has(f.field):
		if f.least > 0 {
			c.defaultAssumed(f, "shapes depend on it, and the scaling where there is one")
		}
	default:
		if n, ok := integer(v); !ok || n < f.least {
			c.invalid(f.field, fmt.Sprintf("an integer of at least %d", f.least), show(v), fmt.Sprintf("set %s to the value that the adapter was trained with; the shapes of its tensors show it", f.field))
			c.Rank = 0
		}
	}
}

func (c *Config) readAlpha(f number) {
	c.Alpha = float64(f.absent)
	v := c.value(f.field)
	if !c.has(f.field) {
		c.defaultAssumed(f, "the scaling may not be the one that was trained")
		return
	}
	alpha, ok := number64(v)
	if !ok {
		c.wrongType(f.field, "a number", v)
		return
	}
	if c.Alpha = alpha; alpha == 0 {
		p := c.add(diag.AdapterAlphaZero, "%s is 0: the adapter changes nothing", f.field)
		p.Want, p.Got = "the "+f.field+" of the training, often r or 2*r", "0"
		p.Cause = "the scaling is " + f.field + " / r"
		p.Fix = "set " + f.field + " to the value that the adapter was trained with"
		c.report.Add(p)
	}
}

func (c *Config) defaultAssumed(f number, why string) {
	p := c.add(diag.AdapterDefault, "%s is absent: PEFT takes its default of %d without a word", f.field, f.absent)
	p.Want, p.Got = f.field, "absent"
	p.Cause = "the config was written by hand, or cut down; " + why
	p.Fix = "add " + f.field + " with the value of the training"
	c.report.Add(p)
}

// maxPatternText bounds the keys of a field of patterns together, in bytes: each
// is a regular expression that is tried on each module.
const maxPatternText = 1 << 20

// patterns reads the values of a number for single modules.
func (c *Config) patterns(f number, whole bool) []Pattern {
	field := f.pattern
	if field == "" || c.isNull(field) {
		return nil
	}
	names, values, ok := ordered(c.fields[field])
	if !ok || len(names) > maxEntries || len(c.fields[field]) > maxPatternText {
		c.wrongType(field, fmt.Sprintf("an object with at most %d names", maxEntries), c.value(field))
		return nil
	}
	var out []Pattern
	for i, name := range names {
		v, ok := number64(values[i])
		if !ok || math.IsNaN(v) || whole && (v != math.Trunc(v) || math.Abs(v) > math.MaxInt32) {
			c.wrongType(field+"."+diag.Name(name), "a number", values[i])
			continue
		}
		p := Pattern{Key: name, Value: v}
		p.compile(f.form)
		if p.err != nil {
			q := c.add(diag.AdapterRegex, "%s: the key %s cannot be used as a regular expression: %v", field, diag.Name(name), p.err)
			q.Fix = "correct the key; it is a Python regular expression for the end of a module's name"
			c.report.Add(q)
			continue
		}
		out = append(out, p)
	}
	return out
}
