package zero

import (
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// dropPrefix takes from all names what Lightning puts in front of them: before
// version 2.1 it wrapped the model that it gave to DeepSpeed. Follows
// pytorch_lightning 2.6.6 utilities/deepspeed.py; the older prefix is as short as
// an attribute's name, so it counts only in a file that Lightning wrote.
func (s *Shards) dropPrefix(lightning bool) {
	prefix := "_forward_module."
	lacks := func(t *tensor) bool { return !strings.HasPrefix(t.name, prefix) }
	if lightning && slices.ContainsFunc(s.tensors, lacks) {
		prefix = "module."
	}
	if len(s.tensors) == 0 || slices.ContainsFunc(s.tensors, lacks) {
		return
	}
	for _, t := range s.tensors {
		t.name, t.of = t.name[len(prefix):], strings.TrimPrefix(t.of, prefix)
	}
	working := make(map[string]*tensor, len(s.working))
	for name, t := range s.working {
		working[strings.TrimPrefix(name, prefix)] = t
	}
	if s.working != nil {
		s.working = working
	}
	p := diag.New(diag.PrefixDropped, "all %d names begin with %s, which Lightning puts in front of them: it was left out", len(s.tensors), prefix)
	p.File = s.Tag
	s.report.Add(p)
}
