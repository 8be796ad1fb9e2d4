package hfconfig

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/safeckpt/safeckpt/internal/pyregexp"
)

// skipping sets what a list of modules to leave alone says, as transformers'
// should_convert_module and get_modules_to_not_convert do.
func (q *quantization) skipping(s settings, key string) error {
	list, given, err := s.strings(key)
	if err != nil {
		return err
	}
	q.tails = !given
	p, err := s.namePatterns(key, list)
	if err != nil {
		return err
	}
	q.exempt = func(m *linearMap) bool { return m.called(p.match) }
	return nil
}

// namePatterns are names of modules and regular expressions of them.
type namePatterns struct {
	names   map[string]bool
	longest int
	regexps regexps
}

func (s settings) namePatterns(key string, list []string) (*namePatterns, error) {
	p := &namePatterns{names: make(map[string]bool)}
	for _, text := range list {
		if !strings.ContainsAny(text, `*+?[](){}|^$\`) {
			p.names[text] = true
			p.longest = max(p.longest, len(text))
			continue
		}
		if !strings.HasSuffix(text, `\.`) { // the match ends with a module's name
			text = `(?:` + text + `)(?:\.|$)`
		}
		if err := p.regexps.add(s, key, text); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// match reports whether a pattern is the path of the module or of one that it
// stands in, or the end of its name.
func (p *namePatterns) match(path string) bool {
	if len(p.names) > 0 {
		for i := range len(path) + 1 {
			if i == len(path) || path[i] == '.' {
				if p.names[path[:i]] || i < len(path) && p.names[path[:i+1]] {
					return true
				}
			}
		}
		for i := max(0, len(path)-p.longest); i < len(path); i++ {
			if p.names[path[i:]] {
				return true
			}
		}
	}
	return p.regexps.match(path)
}

// Limits on the regular expressions of a config.
const (
	maxRegexps    = 64
	maxRegexpTime = 2 * time.Second // for all names together
)

// regexps are Python's, as for re.match.
type regexps []nameRegexp

type nameRegexp struct {
	*pyregexp.Regexp
	*clock
}

// A clock adds up what matching takes while an Expectation is made: look-around
// and the like may take long.
type clock struct {
	spent time.Duration
	done  bool
}

func (c *clock) exceeded() bool { return c.spent > maxRegexpTime }

func (x nameRegexp) match(path string) bool {
	if x.done {
		ok, err := x.Match(path)
		return ok && err == nil
	}
	if x.exceeded() {
		return false
	}
	start := time.Now()
	ok, err := x.Match(path)
	if x.spent += time.Since(start); err != nil {
		x.spent = 2 * maxRegexpTime
	}
	return ok
}

func (s settings) regexp(key, pattern string) (nameRegexp, error) {
	x, err := pyregexp.Match(pattern)
	if err != nil {
		return nameRegexp{}, &ConfigError{s.path + key, err.Error()}
	}
	return nameRegexp{x, s.clock}, nil
}

func (r *regexps) add(s settings, key, pattern string) error {
	x, err := s.regexp(key, pattern)
	if err == nil && len(*r) == maxRegexps {
		err = s.bad(key, fmt.Sprintf("no more than %d regular expressions", maxRegexps))
	}
	*r = append(*r, x)
	return err
}

func (r regexps) match(path string) bool {
	return slices.ContainsFunc(r, func(x nameRegexp) bool { return x.match(path) })
}

// inList reports whether a module stands in a list of layers.
func inList(path string) bool {
	for part := range strings.SplitSeq(path, ".") {
		if _, err := strconv.ParseUint(part, 10, 32); err == nil {
			return true
		}
	}
	return false
}
