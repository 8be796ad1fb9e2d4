package peft

import (
	"cmp"
	"slices"
	"strings"
)

// apply returns the name after the change, if the rule concerns it.
func (r Rename) apply(name string) (string, bool) {
	rest := name
	if r.From != "" {
		var ok bool
		if rest, ok = strings.CutPrefix(name, r.From+"."); !ok {
			return name, false
		}
	}
	if r.To == "" {
		return rest, true
	}
	return r.To + "." + rest, true
}

const (
	maxRules      = 4
	maxCandidates = 64 // base modules of the same tail that are looked at
)

// findRenames looks for changes of the first parts of names that bring modules
// of the file into the view; hits of them are there already. It returns nil
// unless most of the others are brought there. Nothing is assumed of a model:
// a module of the base that ends like one of the file, from its first number on,
// speaks for one rule, and the rules that most modules speak for are taken.
func findRenames(v *view, modules map[string]bool, hits int) []Rename {
	byTail := make(map[string][]string)
	for _, m := range v.modules {
		if t := tail(m.path); len(byTail[t]) < maxCandidates {
			byTail[t] = append(byTail[t], m.path)
		}
	}
	var left []string
	for path := range modules {
		if !v.has(path) {
			left = append(left, path)
		}
	}
	slices.Sort(left)
	missing := len(left)
	var rules []Rename
	for len(left) > 0 && len(rules) < maxRules {
		best := bestRule(v, left, byTail)
		if best.Modules == 0 {
			break
		}
		rules = append(rules, best)
		left = slices.DeleteFunc(left, func(path string) bool {
			to, ok := best.apply(path)
			return ok && v.has(to)
		})
	}
	if (missing-len(left))*2 <= missing {
		return nil
	}
	return rules
}

func bestRule(v *view, left []string, byTail map[string][]string) Rename {
	votes := make(map[[2]string]int)
	for _, path := range left {
		for _, to := range byTail[tail(path)] {
			votes[cutCommon(path, to)]++
		}
	}
	type candidate struct {
		Rename
		near int
	}
	var all []candidate
	for pair, n := range votes {
		all = append(all, candidate{Rename{pair[0], pair[1], n}, near(pair[0], pair[1])})
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(-cmp.Compare(a.Modules, b.Modules), -cmp.Compare(a.near, b.near), strings.Compare(a.From, b.From), strings.Compare(a.To, b.To))
	})
	best := candidate{}
	for _, c := range all[:min(len(all), 16)] {
		c.Modules = 0
		for _, path := range left {
			if to, ok := c.apply(path); ok && v.has(to) {
				c.Modules++
			}
		}
		if c.Modules > best.Modules || c.Modules == best.Modules && c.near > best.near {
			best = c
		}
	}
	return best.Rename
}

// near counts the parts that two prefixes share; a rule that only adds or takes
// away parts is nearer than one that exchanges them.
func near(a, b string) int {
	n := 0
	for _, part := range strings.Split(a, ".") {
		if part != "" && slices.Contains(strings.Split(b, "."), part) {
			n++
		}
	}
	return n
}

// tail returns the part of a module's name that says which layer and which
// module in it, "layers.0.mlp.up_proj"; without a number the last part.
func tail(path string) string {
	stem, _, _, ok := cutLayer(path)
	if !ok {
		return lastPart(path)
	}
	return path[len(stem)-len(lastPart(stem)):]
}

// cutCommon takes the parts off that two names have in common at their ends.
func cutCommon(from, to string) [2]string {
	a, b := strings.Split(from, "."), strings.Split(to, ".")
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return [2]string{strings.Join(a, "."), strings.Join(b, ".")}
}
