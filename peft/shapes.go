package peft

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/safeckpt/safeckpt/diag"
)

// A mismatch is a tensor whose shape is not the wanted one.
type mismatch struct {
	e    *entry
	want []dim
}

// wrongShapes says of the tensors of one module what their shapes come from: A
// and B swapped, another rank, another vocabulary, or another base.
func (k *check) wrongShapes(m *module, rank int, key string, wrong []mismatch) {
	if len(wrong) == 0 {
		return
	}
	if k.swapped(m, wrong) {
		return
	}
	for _, w := range wrong {
		switch got := w.e.info.Shape; {
		case onlyRankDiffers(w.want, got):
			k.wrongRank(m, rank, key, w)
		case k.vocabulary(m.path, w.e, w.want, m.vocabulary()):
		default:
			k.wrongShape(m, w)
		}
	}
}

// swapped reports lora_A and lora_B that were exchanged, or both transposed.
func (k *check) swapped(m *module, wrong []mismatch) bool {
	if len(wrong) != 2 {
		return false
	}
	for _, w := range wrong {
		got := slices.Clone(w.e.info.Shape)
		slices.Reverse(got)
		if len(w.want) != 2 || !fits(w.want, got, make(map[string]uint64)) {
			return false
		}
	}
	a, b := wrong[0], wrong[1]
	p := problem(diag.AdapterSwapped, a.e, "%s: %s has shape %s and %s %s: they are swapped or transposed, want %s and %s", diag.Name(m.path),
		a.e.key, shapeString(a.e.info.Shape), b.e.key, shapeString(b.e.info.Shape), dimsString(a.want), dimsString(b.want))
	p.Want, p.Got = dimsString(a.want), shapeString(a.e.info.Shape)
	p.Cause = "an export that takes A for B, or stores the transposes; where r, in and out are equal no shape shows it"
	p.Fix = "transpose or exchange the two tensors in the program that writes the file"
	k.res.Report.Add(p)
	return true
}

// onlyRankDiffers reports whether the shapes agree but for the rank.
func onlyRankDiffers(want []dim, got []uint64) bool {
	if len(want) != len(got) {
		return false
	}
	differs := false
	for i, d := range want {
		if d.sym != "" || d.n == got[i] {
			continue
		}
		if !d.rank {
			return false
		}
		differs = true
	}
	return differs
}

func rankIn(want []dim, got []uint64) uint64 {
	for i, d := range want {
		if d.rank {
			return got[i]
		}
	}
	return 0
}

func (k *check) wrongRank(m *module, rank int, key string, w mismatch) {
	got, field := rankIn(w.want, w.e.info.Shape), k.method.rank
	word := field.word()
	from := fmt.Sprintf("%s is %d", field.field, rank)
	if key != "" {
		from = fmt.Sprintf("%s %q gives %d", cmp.Or(field.pattern, "rank_pattern"), key, rank)
	}
	p := problem(diag.AdapterRank, w.e, "%s of %s has %s %d, %s in the config", w.e.key, diag.Name(m.path), word, got, from)
	p.Want, p.Got = fmt.Sprintf("%s %d", word, rank), fmt.Sprintf("%s %d", word, got)
	p.Cause = fmt.Sprintf("adapter_config.json is not the one that this file was saved with, or %s was changed after the training", field.field)
	p.Fix = fmt.Sprintf("set the %s of this module to %d in adapter_config.json, or take the file that belongs to the config", word, got)
	for _, i := range k.match.pick(k.c.RankPattern, m.path) {
		other := k.c.RankPattern[i]
		if other.Key != key && uint64(other.Value) == got {
			p.Cause = fmt.Sprintf("the %s keys %q and %q both match, and the first in the file wins; PEFT sorts the keys when it saves, so another one won in training", field.pattern, key, other.Key)
			p.Fix = "make the keys exclusive, such as by naming whole modules, so that each module is matched by the one whose rank the file has"
		}
	}
	k.res.Report.Add(p)
}

// vocabulary returns the number of tokens that the module's tensors go by, or 0
// if it is neither an input nor an output embedding.
func (m *module) vocabulary() uint64 {
	last := lastPart(m.path)
	switch {
	case m.kind == embedding && inputEmbeddings[last]:
		return m.in
	case outputEmbeddings[last]:
		return m.out
	}
	return 0
}

// vocabulary reports a shape that differs only in the number of tokens.
func (k *check) vocabulary(path string, e *entry, want []dim, tokens uint64) bool {
	got := e.info.Shape
	if tokens == 0 || len(want) != len(got) {
		return false
	}
	found := uint64(0)
	for i, d := range want {
		switch {
		case d.sym != "" || d.n == got[i]:
		case d.n == tokens && !d.rank && found == 0:
			found = got[i]
		default:
			return false
		}
	}
	if found == 0 {
		return false
	}
	change, n := "grown", found-tokens
	if found < tokens {
		change, n = "shrunk", tokens-found
	}
	p := problem(diag.AdapterVocabulary, e, "%s is %s, the base's %s leads to %s: the vocabulary was %s by %s, from %d to %d",
		diag.Name(e.info.Name), shapeString(got), diag.Name(path), dimsString(want), change, diag.Count(n, "token"), tokens, found)
	p.Want, p.Got = diag.Count(tokens, "token"), diag.Count(found, "token")
	p.Cause = "resize_token_embeddings was called before the training, often for added special tokens; the base still has its own size"
	p.Fix = fmt.Sprintf("call model.resize_token_embeddings(%d) on the base before loading the adapter, or use the resized base", found)
	k.res.Report.Add(p)
	return true
}

func (k *check) wrongShape(m *module, w mismatch) {
	against := "config and base lead"
	if k.base == nil {
		against = "the config and the module's other tensors lead"
	}
	p := problem(diag.AdapterShape, w.e, "%s is %s, %s to %s", diag.Name(w.e.info.Name), shapeString(w.e.info.Shape), against, dimsString(w.want))
	p.Want, p.Got = dimsString(w.want), shapeString(w.e.info.Shape)
	p.Cause = "the file was put together from parts, or damaged by a conversion"
	p.Fix = "save the adapter again from the training checkpoint"
	if k.base != nil && m.shape != nil {
		p.Cause = "the adapter was trained on a model of other sizes than this base"
		p.Fix = "use the base that the adapter was trained on"
		if k.c.BaseModelName != "" {
			p.Fix += ": the config names " + diag.Name(k.c.BaseModelName)
		}
	}
	k.res.Report.Add(p)
}
