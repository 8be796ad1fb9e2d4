package peft

import (
	"github.com/safeckpt/safeckpt/internal/pyregexp"
)

// A Pattern is one entry of rank_pattern or alpha_pattern.
type Pattern struct {
	Key   string // a regular expression for a module's name, or for its end after a dot
	Value float64

	re  *pyregexp.Regexp
	err error
}

// compile follows peft 0.21.2 utils/other.py, get_pattern_key.
func (p *Pattern) compile() { p.re, p.err = pyregexp.Match(`(.*\.)?(` + p.Key + `)$`) }

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
