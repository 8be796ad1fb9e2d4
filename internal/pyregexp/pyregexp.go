// Package pyregexp matches the regular expressions of Python's re module, which
// PEFT takes for target_modules, rank_pattern and the like.
//
// Patterns are translated. What is regular runs on package regexp in linear
// time; look-around, back-references and the like run on a backtracking engine
// under a time limit. Follows Python 3.11 to 3.13, re/_parser.py. Three things
// differ: \d, \w and \s know ASCII only on the first engine, $ does not match
// before a final newline there, and look-behind may have a variable width.
package pyregexp

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/dlclark/regexp2/v2"
)

// Limit is how long one match may take on the backtracking engine.
const Limit = 250 * time.Millisecond

// MaxPattern is the length in bytes of the longest pattern that is compiled.
const MaxPattern = 64 << 10

// ErrTooSlow means that a match was given up after Limit.
var ErrTooSlow = errors.New("the pattern takes too long to match")

// A Regexp is a compiled pattern. It is safe for concurrent use. A match on the
// backtracking engine may start a clock goroutine of that engine, which ends by
// itself soon after Limit.
type Regexp struct {
	linear *regexp.Regexp
	slow   *regexp2.Regexp
	groups map[string]int
}

// Match compiles a pattern for re.match: it must match at the start of a text.
func Match(pattern string) (*Regexp, error) { return compile(pattern, `\A(?:`, `)`) }

// FullMatch compiles a pattern for re.fullmatch: it must match a whole text.
func FullMatch(pattern string) (*Regexp, error) { return compile(pattern, `\A(?:`, `)\z`) }

func compile(pattern, before, after string) (*Regexp, error) {
	if len(pattern) > MaxPattern {
		return nil, fmt.Errorf("the pattern is %d bytes long, more than the limit of %d", len(pattern), MaxPattern)
	}
	t := translator{in: []rune(pattern)}
	if err := t.run(); err != nil {
		return nil, err
	}
	text := before + t.out.String() + after
	if !t.irregular {
		if re, err := regexp.Compile(text); err == nil {
			return &Regexp{linear: re, groups: t.names}, nil
		} // else a repeat count that only the other engine takes, or an error that it will tell
	}
	re, err := regexp2.Compile(text, regexp2.OptionMaxBacktrackingStackSize(maxStack))
	if err != nil {
		return nil, err
	}
	re.MatchTimeout = Limit
	return &Regexp{slow: re, groups: t.names}, nil
}

// maxStack bounds the backtracking engine's memory, in entries.
const maxStack = 1 << 20

// Match reports whether the pattern matches s. The error, ErrTooSlow, can only
// come from patterns that are not regular.
func (re *Regexp) Match(s string) (bool, error) {
	if re.linear != nil {
		return re.linear.MatchString(s), nil
	}
	ok, err := re.slow.MatchString(s)
	if err != nil {
		return false, ErrTooSlow
	}
	return ok, nil
}

// Group returns what the group of that name matched in s, "" if it took no part;
// ok is false if the pattern does not match s.
func (re *Regexp) Group(s, name string) (group string, ok bool, err error) {
	n := re.groups[name]
	if re.linear != nil {
		m := re.linear.FindStringSubmatch(s)
		if m == nil {
			return "", false, nil
		}
		return m[n], true, nil
	}
	m, err := re.slow.FindStringMatch(s)
	switch {
	case err != nil:
		return "", false, ErrTooSlow
	case m == nil:
		return "", false, nil
	}
	return m.GroupByNumber(n).String(), true, nil
}
