package zero

import (
	"fmt"
	"slices"

	"github.com/safeckpt/safeckpt/diag"
)

// planStage12 lays the parameters over the flat groups. Follows DeepSpeed 0.19.8
// utils/zero_to_fp32.py, _zero2_merge_trainable_params.
func (s *Shards) planStage12(out *plan, p *part) error {
	m := p.model()
	s.planKept(out, p)
	if len(m.params) != len(p.ranks[0].groups) {
		return s.content(diag.PartitionSize, s.path(m.name), "shapes of %d groups of parameters, but %s has %d flat groups",
			len(m.params), diag.Name(p.ranks[0].name), len(p.ranks[0].groups))
	}
	for g, params := range m.params {
		if s.isExpertGroup(p, g) {
			s.experts += int64(len(params)) * (int64(len(p.ranks)) / max(p.ranks[0].counts[g], 1))
			continue // from the experts' own files
		}
		if err := s.planGroup(out, p, g, params); err != nil {
			return err
		}
	}
	return nil
}

// isExpertGroup reports whether the ranks of a group hold different experts. Its
// partitions are then fewer than there are ranks.
func (s *Shards) isExpertGroup(p *part, g int) bool {
	counts := p.ranks[0].counts
	return g < len(counts) && counts[g] < int64(len(p.ranks))
}

func (s *Shards) planGroup(out *plan, p *part, g int, params []param) error {
	vector := &flat{}
	for _, r := range p.ranks {
		if g >= len(r.groups) {
			return s.content(diag.RanksDisagree, s.path(r.name), "flat group %d is missing", g)
		}
		vector.add(r.groups[g])
	}
	var gaps []int64
	if all := p.ranks[0].gaps; all != nil {
		if g >= len(all) || len(all[g]) != len(params) {
			return s.content(diag.PartitionSize, s.path(p.ranks[0].name), "param_alignment_paddings has no gap for each of the %d parameters of group %d", len(params), g)
		}
		gaps = all[g]
	}
	places := make([]fragment, 0, len(params))
	at, end := int64(0), int64(0)
	for i, q := range params {
		places = append(places, fragment{q.name, at, q.numel})
		if end = at + q.numel; end < at || end > vector.len() {
			return s.sizes(p, g, end, vector.len())
		}
		at = end
		if gaps != nil {
			if gaps[i] < 0 || gaps[i] > vector.len() {
				return s.content(diag.PartitionSize, s.path(p.ranks[0].name), "a gap of %d elements after parameter %s", gaps[i], diag.Name(q.name))
			}
			at += gaps[i]
		}
	}
	// Flat vectors are padded until every rank has the same even number of elements.
	align := 2 * int64(len(p.ranks))
	if up(at, align) != up(vector.len(), align) {
		return s.sizes(p, g, at, vector.len())
	}
	if err := s.checkPartitions(p, g, up(at, align)/int64(len(p.ranks))); err != nil {
		return err
	}
	if err := s.checkSlices(p, g, vector, places); err != nil {
		return err
	}
	for i, q := range params {
		first := p.ranks[0].groups[g]
		out.put(&tensor{name: q.name, shape: q.shape, numel: q.numel, dtype: first.dtype, swap: first.swap,
			pieces: vector.appendPieces(nil, places[i].start, places[i].start+q.numel)})
	}
	return nil
}

func up(n, align int64) int64 { return (n + align - 1) / align * align }

func (s *Shards) sizes(p *part, g int, want, have int64) error {
	m := p.model()
	q := diag.New(diag.PartitionSize, "the shapes of group %d's parameters take %d elements, but the flat groups of %d ranks hold %d", g, want, len(p.ranks), have)
	q.File, q.Want, q.Got = s.path(m.name), fmt.Sprintf("%d elements", want), fmt.Sprintf("%d elements", have)
	q.Cause = "model file and optimizer files are of different runs, or the model was changed between saves"
	q.Fix = "copy the whole tag directory again, or merge another tag"
	return s.refuse(q)
}

// checkPartitions wants each rank to hold size elements, but for the padding cut
// from the end.
func (s *Shards) checkPartitions(p *part, g int, size int64) error {
	last := len(p.ranks) - 1
	for last > 0 && p.ranks[last].groups[g].numel == 0 {
		last--
	}
	for i, r := range p.ranks[:last+1] {
		if n := r.groups[g].numel; n > size || i < last && n != size {
			return s.content(diag.PartitionSize, s.path(r.name), "rank %d's partition of group %d has %d elements, want %d as each rank but the last", r.rank, g, n, size)
		}
	}
	return nil
}

// checkSlices holds the places of parameters against those that each rank says.
func (s *Shards) checkSlices(p *part, g int, vector *flat, places []fragment) error {
	begin := int64(0)
	next := 0 // the first parameter that may reach into the rank's partition
	for i, r := range p.ranks {
		end := vector.ends[i]
		if g >= len(r.slices) || r.roundRobin {
			return nil // written by a version that does not say, or in the order that was not used
		}
		said := make(map[string]fragment, len(r.slices[g]))
		for _, f := range r.slices[g] {
			said[f.name] = f
		}
		for next < len(places) && places[next].start+places[next].numel <= begin {
			next++
		}
		for _, q := range places[next:] {
			if q.start >= end {
				break
			}
			from, to := max(q.start, begin), min(q.start+q.numel, end)
			if from >= to {
				continue
			}
			want := fragment{q.name, from - begin, to - from}
			if f, ok := said[q.name]; !ok || f != want {
				got := "not at all"
				if ok {
					got = fmt.Sprintf("%d elements at %d", f.numel, f.start)
				}
				d := diag.New(diag.FragmentPlace, "%s says that %s lies in its partition of group %d: %s; by the shapes it is %d elements at %d",
					diag.Name(r.name), diag.Name(q.name), g, got, want.numel, want.start)
				d.File, d.Tensor, d.Want, d.Got = s.path(r.name), q.name, fmt.Sprintf("%d elements at %d", want.numel, want.start), got
				d.Cause = "the file is another rank's under a wrong name, or of a save with another model or order of parameters"
				d.Fix = "copy the whole tag directory again, or merge another tag"
				return s.refuse(d)
			}
		}
		begin = end
	}
	return nil
}

// planStage3 cuts each parameter out of all ranks. Follows DeepSpeed 0.19.8
// utils/zero_to_fp32.py, _zero3_merge_trainable_params.
func (s *Shards) planStage3(out *plan, p *part) error {
	s.planKept(out, p)
	world := int64(len(p.ranks))
	vectors := make([]*flat, world)
	for i, r := range p.ranks {
		vectors[i] = &flat{}
		for _, g := range r.groups {
			if g.dtype != p.ranks[0].groups[0].dtype {
				return s.content(diag.RanksDisagree, s.path(r.name), "flat groups of %v and %v", p.ranks[0].groups[0].dtype, g.dtype)
			}
			vectors[i].add(g)
		}
	}
	at := int64(0)
	for g, params := range p.model().params {
		for _, q := range params {
			size := (q.numel + world - 1) / world // the last ranks are padded
			if at+size > vectors[0].len() {
				return s.sizes(p, g, (at+size)*world, vectors[0].len()*world)
			}
			t := &tensor{name: q.name, shape: q.shape, numel: q.numel}
			if len(p.ranks[0].groups) > 0 {
				t.dtype, t.swap = p.ranks[0].groups[0].dtype, p.ranks[0].groups[0].swap
			}
			for r, left := int64(0), q.numel; left > 0; r++ {
				n := min(size, left)
				t.pieces = vectors[r].appendPieces(t.pieces, at, at+n)
				left -= n
			}
			out.put(t)
			at += size
		}
	}
	if at != vectors[0].len() {
		return s.sizes(p, 0, at*world, vectors[0].len()*world)
	}
	return nil
}

// planKept plans what is not in the flat groups: buffers and frozen parameters.
func (s *Shards) planKept(out *plan, p *part) {
	m := p.model()
	buffers := m.isBuffer()
	for _, name := range m.names {
		if buffers[name] {
			out.put(whole(name, m.module[name], buffer))
		}
	}
	if !s.isStage3(p) {
		if s.working == nil {
			s.working = make(map[string]*tensor)
		}
		for _, name := range m.names {
			s.working[name] = whole(name, m.module[name], trainable)
		}
	}
	for _, q := range m.frozen {
		t := &tensor{name: q.name, shape: q.shape, numel: q.numel, origin: frozen}
		left := q.numel
		for i, file := range p.models {
			st := file.fragments[q.name]
			switch {
			case st == nil:
				_ = s.content(diag.RankFileContent, s.path(file.name), "frozen_param_fragments lacks %s, which frozen_param_shapes names", diag.Name(q.name))
				return
			case i > 0 && (st.dtype != t.dtype || st.swap != t.swap):
				_ = s.content(diag.RanksDisagree, s.path(file.name), "frozen parameter %s is %v, but %v in the other files", diag.Name(q.name), st.dtype, t.dtype)
				return
			}
			t.dtype, t.swap = st.dtype, st.swap
			n := min(left, st.numel)
			left -= n
			switch {
			case n == 0:
			case st.stride != nil && n == q.numel && slices.Equal(st.shape, q.shape):
				t.stride = st
			case st.stride != nil:
				left = -1
			default:
				t.pieces = append(t.pieces, piece{st.file, st.offset, n * st.dtype.Size()})
			}
			if world := int64(len(p.models)); s.isStage3(p) && st.numel != (q.numel+world-1)/world || !s.isStage3(p) && st.numel != q.numel {
				left = -1
			}
			if left < 0 {
				_ = s.content(diag.PartitionSize, s.path(file.name), "frozen parameter %s has %d elements here, which does not fit its shape %v on %d ranks", diag.Name(q.name), st.numel, q.shape, len(p.models))
				return
			}
		}
		if left > 0 {
			_ = s.content(diag.PartitionSize, s.path(m.name), "frozen parameter %s of shape %v lacks %d elements", diag.Name(q.name), q.shape, left)
			return
		}
		out.put(t)
	}
	if m.noFrozen && s.Stage == 1 { // in stage 2: left out on request when it was saved
		s.planLeft(out, m, buffers)
	}
}

// isStage3 reports whether each rank has a model file with parts.
func (s *Shards) isStage3(p *part) bool { return p.model().rank >= 0 }

// planLeft takes frozen parameters from the working copy: stage 1 saves them
// nowhere else.
func (s *Shards) planLeft(out *plan, m *modelFile, buffers map[string]bool) {
	master := make(map[string]bool)
	for _, group := range m.params {
		for _, q := range group {
			master[q.name] = true
		}
	}
	aliases := make(map[string]string)
	for _, pair := range m.shared {
		aliases[pair[0]] = pair[1]
	}
	var names []string
	for _, name := range m.names {
		st := m.module[name]
		if master[name] || buffers[name] {
			continue
		}
		if of, tied := aliases[name]; tied {
			if source := m.module[of]; source == nil || slices.Equal(source.shape, st.shape) {
				continue
			}
		}
		out.put(whole(name, st, frozen))
		names = append(names, name)
	}
	if len(names) == 0 {
		return
	}
	p := diag.New(diag.FrozenFromModule, "%d frozen weights come from the working copy in %s: %s", len(names), diag.Name(m.name), list(names))
	p.File = s.path(m.name)
	p.Cause = "ZeRO stage 1 saves no other copy; zero_to_fp32.py leaves them out"
	p.Fix = "to leave them out too: --exclude-frozen"
	s.report.Add(p)
}

// planAliases adds the names that share a weight with another. A name that has
// data of its own is none, whatever the file says: parameters without elements
// all have the address 0.
func (s *Shards) planAliases(out *plan, p *part) {
	for _, pair := range p.model().shared {
		source := out.get(pair[1])
		if source == nil || out.get(pair[0]) != nil {
			continue
		}
		t := *source
		t.name, t.origin, t.of = pair[0], alias, pair[1]
		if source.origin == alias {
			t.of = source.of
		}
		out.put(&t)
	}
}

// notes says what is worth knowing.
func (s *Shards) notes() {
	var ties []string
	for _, t := range s.tensors {
		if t.origin == alias {
			ties = append(ties, t.name+" = "+t.of)
		}
	}
	if len(ties) > 0 {
		p := diag.New(diag.TiesDropped, "tied weights, names that share the data of another: %s", list(ties))
		p.File, p.Fix = s.Tag, "written as copies by default; to leave them out: --ties drop"
		s.report.Add(p)
	}
	if !s.Universal && s.Ranks > 0 {
		p := diag.New(diag.WorldSizeFixed, "ZeRO-%d state of %s: resumes on %d only", s.Stage, diag.Count(s.Ranks, "rank"), s.Ranks)
		p.File = s.Tag
		p.Fix = "for another number: python -m deepspeed.checkpoint.ds_to_universal, or start a new run from the merged weights"
		s.report.Add(p)
	}
}
