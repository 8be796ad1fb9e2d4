package peft

import (
	"cmp"
	"fmt"

	"github.com/safeckpt/safeckpt/internal/pyregexp"
)

// A Pattern is one entry of rank_pattern or alpha_pattern.
type Pattern struct {
	Key   string // a regular expression for a module's name, or for its end after a dot
	Value float64

	re  *pyregexp.Regexp
	err error
}

// patternForm is how most types match the keys. Follows peft 0.21.2
// utils/other.py, get_pattern_key.
const patternForm = `(.*\.)?(%s)$`

func (p *Pattern) compile(form string) {
	p.re, p.err = pyregexp.Match(fmt.Sprintf(cmp.Or(form, patternForm), p.Key))
}

// pick returns the indices of the patterns that match a module. PEFT takes the
// first.
func (m *matcher) pick(patterns []Pattern, module string) []int {
	var hits []int
	for i, p := range patterns {
		if m.match(p.re, p.Key, module) {
			hits = append(hits, i)
		}
	}
	return hits
}
