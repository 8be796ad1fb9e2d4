package hfconfig

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// Limits on the search for another model that the weights may be of. It runs only
// when something is wrong and no other cause is found.
const (
	maxCandidates = 8       // schema files
	searchTensors = 400_000 // looked at besides four times those of the checkpoint
)

// A search looks for a class of another model type.
type search struct {
	*comparing
	left int // tensors that may be looked at
}

// elsewhere says which other model the weights fit: with the sizes of this config,
// or by their names alone.
func (c *comparing) elsewhere() *reason {
	s := &search{c, searchTensors + 4*len(c.held)}
	candidates := c.candidates()
	for _, part := range []string{"text_config", ""} {
		object := c.x.config.root
		if part != "" {
			if object, _ = object[part].(map[string]any); object == nil {
				continue
			}
			named := text(object["model_type"])
			slices.SortStableFunc(candidates, func(a, b *model) int { return boolOrder(a.name == named, b.name == named) })
		}
		for _, m := range candidates {
			class := s.first(m, object, s.fits)
			switch {
			case class == nil:
			case part != "":
				return &reason{
					fmt.Sprintf("the weights fit %s (model_type %s) with the sizes of %s: they are a copy of that part alone, and config.json describes %s", class.name, m.name, part, c.x.Architecture),
					fmt.Sprintf("make %s the config.json of this copy, with architectures [%q], or copy the whole model", part, class.name),
				}
			default:
				return &reason{
					fmt.Sprintf("the weights fit %s (model_type %s), all names and sizes; config.json says %s (model_type %s)", class.name, m.name, c.x.Architecture, c.x.ModelType),
					fmt.Sprintf("take the config.json that was saved with these weights, or set model_type to %q and architectures to [%q]", m.name, class.name),
				}
			}
		}
	}
	if !c.strange() {
		return nil
	}
	for _, m := range candidates {
		if class := s.first(m, nil, s.named); class != nil {
			return &reason{
				fmt.Sprintf("the weights are named as those of %s (model_type %s); config.json is of another model, %s (model_type %s)", class.name, m.name, c.x.Architecture, c.x.ModelType),
				"put the config.json that belongs to these weights beside them",
			}
		}
	}
	return nil
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// strange reports whether nearly nothing fits.
func (c *comparing) strange() bool { return c.m.fits*10 <= min(len(c.held), len(c.m.entries)) }

// first returns the first class of a model that suits, with the config of that
// object.
func (s *search) first(m *model, object map[string]any, suits func(*plan, *class) bool) *class {
	for _, class := range m.classes {
		if m == s.x.model && class == s.x.class {
			continue
		}
		e := newEnv(s.x.registry, m, object, &frame{left: maxWork / 10})
		p, err := bind(e, class, min(s.x.limit, max(s.left, 0)), nil)
		if err != nil {
			continue
		}
		if s.left -= p.count; s.left > 0 && suits(p, class) {
			return class
		}
	}
	return nil
}

// fits reports whether a plan's tensors are those of the checkpoint, in some
// layout.
func (s *search) fits(p *plan, class *class) bool {
	for l := range Layout(layoutCount) {
		if l != Save && !p.distinct[l] || l == Save && p.count > len(s.held) {
			continue
		}
		t := p.table(l, "", nil)
		if s.left -= len(t.entries) + len(s.held); s.left < 0 {
			return false
		}
		if t.match(s.held).whole(true) {
			return true
		}
	}
	return false
}

// whole reports whether nothing is left over or missing, nor of another shape if
// that counts.
func (m *match) whole(shapes bool) bool {
	return len(m.left)+len(m.extra) == 0 && !slices.ContainsFunc(m.entries, func(e entry) bool {
		return e.held == nil && !e.optional || shapes && e.held != nil && e.shape != nil && !slices.Equal(e.held.Shape, e.shape)
	})
}

// named reports whether nine tenths of the checkpoint's names are those of the
// model and the other way round, whatever their numbers.
func (s *search) named(p *plan, class *class) bool {
	held := make(map[string]bool)
	for _, h := range s.held {
		held[pattern(h.Name)] = true
	}
	for l := range Layout(layoutCount) {
		if l != Save && !p.distinct[l] {
			continue
		}
		if s.left -= p.count; s.left < 0 {
			return false
		}
		want := make(map[string]bool)
		p.each(l, func(t *emitted) bool {
			if !t.optional() {
				want[pattern(string(t.name))] = true
			}
			return true
		})
		both := 0
		for name := range want {
			if held[name] {
				both++
			}
		}
		if both*10 >= 9*max(len(held), len(want)) {
			return true
		}
	}
	return false
}

// pattern returns a name with its numbers taken out.
func pattern(name string) string {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		if p != "" && strings.Trim(p, "0123456789") == "" {
			parts[i] = "#"
		}
	}
	return strings.Join(parts, ".")
}

// candidates returns the model types whose schemas have the most of the words
// that the names are made of.
func (c *comparing) candidates() []*model {
	words := make(map[string]bool)
	for _, h := range c.held {
		if len(h.Name) > maxExplained {
			continue
		}
		for w := range strings.SplitSeq(h.Name, ".") {
			if w != "weight" && w != "bias" && strings.Trim(w, "0123456789") != "" {
				words[w] = true
			}
		}
		if len(words) > 500 { // of no model
			return nil
		}
	}
	var out []*model
	for _, name := range slices.Sorted(maps.Keys(c.x.registry.own)) {
		if m := c.x.registry.own[name]; m.name == name && len(out) < maxCandidates {
			out = append(out, m)
		}
	}
	if !c.x.registry.builtin {
		return out
	}
	type score struct {
		file        *packed
		found, rest int
	}
	var scores []score
	mentions := make(map[string]int) // of model types in the schemas of others: of two that fit, the usual one
	eachBuiltin(func(f *packed, text string) {
		s := score{file: f}
		seen := make(map[string]bool)
		for w := range strings.FieldsFuncSeq(text, func(r rune) bool { return r >= 0x80 || !isWord(byte(r)) }) {
			switch {
			case seen[w]:
			case words[w]:
				s.found++
				seen[w] = true
			default:
				s.rest++
				seen[w] = true
				mentions[w]++
			}
		}
		if s.found*10 >= 6*len(words) {
			scores = append(scores, s)
		}
	})
	slices.SortFunc(scores, func(a, b score) int {
		return cmp.Or(b.found-a.found, mentions[b.file.first]-mentions[a.file.first], a.rest-b.rest, strings.Compare(a.file.name, b.file.name))
	})
	for _, s := range scores[:min(len(scores), maxCandidates)] {
		if a, err := s.file.parse(); err == nil {
			out = append(out, a.models...)
		}
	}
	return out
}

// textAlone says so if all that is missing are whole parts that are not the
// language model.
func (c *comparing) textAlone() *reason {
	if len(c.lacking) == 0 || len(c.foreign) > 0 || c.x.model.keys["vision_config"] == nil && c.x.model.keys["audio_config"] == nil {
		return nil
	}
	count := make(map[string]int)
	for _, e := range c.lacking {
		count[c.part(e.name)]++
	}
	for i := range c.m.entries {
		if e := &c.m.entries[i]; e.held != nil && count[c.part(e.name)] > 0 {
			return nil
		}
	}
	for part := range count {
		if strings.Contains(part, "lm_head") || strings.Contains(part, "language") {
			return nil
		}
	}
	parts := slices.Sorted(maps.Keys(count))
	for i, part := range parts {
		parts[i] = fmt.Sprintf("all of %s is missing (%s)", part, diag.Count(count[part], "tensor"))
	}
	return &reason{
		fmt.Sprintf("%s: a copy of the language model alone, and config.json describes the whole %s", strings.Join(parts, ", "), c.x.Architecture),
		"copy the whole model, or give the text model a config.json of its own (text_config)",
	}
}

// part returns the outermost module that is not the base model.
func (c *comparing) part(name string) string {
	top := c.top(name)
	if c.m.prefix != "" && strings.HasPrefix(name, c.m.prefix) {
		return c.m.prefix + top
	}
	return top
}
