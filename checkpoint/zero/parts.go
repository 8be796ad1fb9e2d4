package zero

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/safeckpt/safeckpt/diag"
)

// A part is what the data-parallel ranks of one model-parallel rank have: the
// whole model, or one pipeline stage.
type part struct {
	ranks  []*rankFile // by rank, complete
	models []*modelFile
}

// model returns the file that has names and shapes: rank 0's.
func (p *part) model() *modelFile { return p.models[0] }

// readParts reads all files of ranks and holds them against each other.
func (s *Shards) readParts(ctx context.Context, l *tagListing) ([]*part, error) {
	s.Universal = l.universal
	if err := s.checkLayout(l); err != nil {
		return nil, err
	}
	var parts []*part
	for _, mp := range l.mps() {
		p := &part{}
		optim := of(l.optim, mp)
		for _, n := range optim {
			r, err := s.readRank(ctx, n)
			switch {
			case errors.Is(err, errRefused):
				continue // the others are looked at too
			case err != nil:
				return nil, err
			}
			p.ranks = append(p.ranks, r)
		}
		models := of(l.model3, mp)
		if len(p.ranks) > 0 && p.ranks[0].stage != 3 || len(models) == 0 {
			models = of(l.model, mp)
		}
		for _, n := range models {
			m, err := s.readModel(ctx, n)
			switch {
			case errors.Is(err, errRefused):
				continue
			case err != nil:
				return nil, err
			}
			if len(p.models) > 0 {
				s.sameModel(p.model(), m)
				m.module, m.names, m.params, m.frozen = nil, nil, nil, nil // with many ranks they would add up
			}
			p.models = append(p.models, m)
		}
		if len(models) == 0 {
			_ = s.modelsMissing()
		}
		if len(p.ranks) == len(optim) && len(p.models) > 0 || !s.failed() {
			s.checkRanks(p, optim)
		}
		if len(p.models) > 0 {
			s.checkModels(p)
		}
		parts = append(parts, p)
	}
	if s.failed() {
		return nil, errRefused
	}
	return parts, nil
}

// checkLayout refuses what is not merged, by what the names of files tell.
func (s *Shards) checkLayout(l *tagListing) error {
	mps := l.mps()
	tp := slices.ContainsFunc(l.layers, func(f rankName) bool { return f.mp > 0 })
	if len(mps) > 1 && len(l.layers) == 0 || tp {
		p := diag.New(diag.TensorParallel, "tensor-parallel: the files are of %d model-parallel ranks, and each holds a part of every tensor", len(mps))
		p.File, p.Want, p.Got = s.Tag, "one model-parallel rank, mp_rank_00", fmt.Sprintf("mp_rank_%02d to mp_rank_%02d", mps[0], mps[len(mps)-1])
		p.Cause = "the run used tensor parallelism (AutoTP, Megatron), which cuts each tensor in a way that depends on the model"
		p.Fix = "load it with the same tensor-parallel size and save with save_16bit_model, or convert it with Megatron-DeepSpeed's tools"
		return s.refuse(p)
	}
	if len(l.optim) == 0 && !l.universal {
		p := diag.New(diag.RankMissing, "no *_optim_states.pt in %s: the master weights are not here", diag.Name(s.Tag))
		p.File, p.Want, p.Got = s.Tag, "zero_pp_rank_R_mp_rank_00_optim_states.pt for each rank", "none"
		p.Cause, p.Fix = "ZeRO was off, the save was killed, or the files lie on other nodes", "collect the files of all ranks in one directory, or merge another tag"
		return s.refuse(p)
	}
	return nil
}

// checkRanks holds the ranks of a part against each other and its model file.
func (s *Shards) checkRanks(p *part, files []rankName) {
	if len(files) == 0 {
		return // universal
	}
	world := s.world(p)
	if world <= 0 {
		_ = s.content(diag.RanksDisagree, s.path(files[0].name), "partition_count is %d, want the number of ranks", world)
		return
	}
	have := make(map[int]string)
	for _, f := range files {
		if int64(f.rank) >= world {
			count := int64(0)
			for _, r := range p.ranks {
				if r.name == f.name {
					count = r.world()
				}
			}
			s.extra(f, fmt.Sprintf("%s is of rank %d, but the checkpoint has %s (0 to %d)", diag.Name(f.name), f.rank, diag.Count(world, "rank"), world-1), count)
		} else if other, twice := have[f.rank]; twice {
			s.extra(f, fmt.Sprintf("rank %d has two files, %s and %s", f.rank, diag.Name(other), diag.Name(f.name)), 0)
		} else {
			have[f.rank] = f.name
		}
	}
	s.missingRanks(have, world, files)
	if s.failed() {
		return
	}
	first := p.ranks[0]
	for _, r := range p.ranks {
		s.agree(first, r, world)
	}
	s.checkSteps(p)
	s.Stage, s.Ranks = first.stage, int(world)
}

// world decides how many ranks there are: what the model file says, unless the
// optimizer files agree on something else.
func (s *Shards) world(p *part) int64 {
	counts := make(map[int64]bool)
	for _, r := range p.ranks {
		counts[r.world()] = true
	}
	var said int64
	if len(p.models) > 0 {
		said = p.model().world
	}
	if len(counts) == 1 && said > 0 && !counts[said] {
		m := p.model()
		_ = s.content(diag.RanksDisagree, s.path(m.name), "the model file is of %d ranks (dp_world_size), the optimizer files are of %d (partition_count)", said, p.ranks[0].world())
	}
	if said > 0 && counts[said] || len(p.ranks) == 0 {
		return said
	}
	return p.ranks[0].world()
}

func (s *Shards) extra(f rankName, message string, count int64) {
	p := diag.New(diag.RankExtra, "%s", message)
	p.File = s.path(f.name)
	if count > 0 {
		p.Got = fmt.Sprintf("partition_count %d", count)
		p.Message += fmt.Sprintf("; the file says partition_count %d", count)
	}
	p.Cause = "an older save with other settings into the same directory left it"
	p.Fix = "if the others are those you want, move it away: mv " + diag.Name(p.File) + " /elsewhere"
	s.report.Add(p)
}

func (s *Shards) missingRanks(have map[int]string, world int64, files []rankName) {
	const most = 20
	missing, first := 0, -1
	for rank := 0; int64(rank) < world && missing <= most; rank++ { // world is only a number in a file
		if _, ok := have[rank]; ok {
			continue
		}
		missing++
		if first < 0 {
			first = rank
		}
		name := sibling(files[0].name, rank)
		p := diag.New(diag.RankMissing, "rank %d of %d is missing: %s not found; %d of %d optimizer files are here", rank, world, diag.Name(name), len(have), world)
		p.File, p.Want, p.Got = s.path(name), fmt.Sprintf("%d optimizer files", world), fmt.Sprint(len(have))
		p.Cause = "the save was killed, or the file lies on another node's disk"
		p.Fix = "copy it here from the node of that rank, or merge another tag"
		s.report.Add(p)
	}
}

// sibling returns the name that another rank's file has.
func sibling(name string, rank int) string {
	for _, re := range []*regexp.Regexp{optimName, model3Name} {
		if m := re.FindStringSubmatchIndex(name); m != nil {
			return name[:m[2]] + fmt.Sprint(rank) + name[m[3]:]
		}
	}
	return name
}

// agree holds rank r against the first.
func (s *Shards) agree(first, r *rankFile, world int64) {
	differ := func(what string, got, want any) {
		p := diag.New(diag.RanksDisagree, "%s says %s %v, but %s says %v", diag.Name(r.name), what, got, diag.Name(first.name), want)
		p.File, p.Want, p.Got = s.path(r.name), fmt.Sprint(want), fmt.Sprint(got)
		p.Cause = "the files are of different saves: an older one was overwritten in part, or ranks saved different steps"
		p.Fix = "copy the whole tag directory again, or merge another tag"
		s.report.Add(p)
	}
	switch {
	case r.stage != first.stage:
		differ("zero_stage", r.stage, first.stage)
	case !slices.Equal(r.counts, first.counts) || r.world() != world:
		differ("partition_count", r.counts, first.counts)
	case r.version != first.version:
		differ("ds_version", diag.Name(r.version), diag.Name(first.version))
	case len(r.groups) != len(first.groups):
		differ("number of groups", len(r.groups), len(first.groups))
	case !slices.EqualFunc(r.gaps, first.gaps, slices.Equal[[]int64]):
		differ("param_alignment_paddings", r.gaps, first.gaps)
	default:
		for i, g := range r.groups {
			if want := first.groups[i]; g.dtype != want.dtype || g.swap != want.swap {
				differ(fmt.Sprintf("dtype of group %d", i), g.dtype, want.dtype)
			} else if r.stage == 3 && g.numel != want.numel {
				differ(fmt.Sprintf("length of flat group %d", i), g.numel, want.numel)
			}
		}
	}
}

// checkSteps looks for ranks whose optimizer is at another step.
func (s *Shards) checkSteps(p *part) {
	steps := make(map[float64]int)
	for _, r := range p.ranks {
		if r.step >= 0 {
			steps[r.step]++
		}
	}
	if len(steps) == 0 || len(p.models) == 0 {
		return
	}
	m := p.model()
	s.Step = m.steps
	want, done := float64(m.steps-m.skipped), 0
	if steps[want] == 0 {
		for step, n := range steps {
			if n > done || n == done && step > want {
				want, done = step, n
			}
		}
	}
	for _, r := range p.ranks {
		if r.step < 0 || r.step == want {
			continue
		}
		p := diag.New(diag.RanksMixedSteps, "%s (rank %d) is from another step: its optimizer is at step %v, want %v as in the other files", diag.Name(r.name), r.rank, r.step, want)
		p.File, p.Want, p.Got = s.path(r.name), fmt.Sprintf("step %v", want), fmt.Sprintf("step %v", r.step)
		p.Cause = "a save over an older one was killed, or files of two saves were copied together"
		p.Fix = "copy this rank's file of the right step, or merge another tag"
		s.report.Add(p)
	}
	if len(steps) == 1 && m.steps >= 0 && want != float64(m.steps-m.skipped) {
		p := diag.New(diag.StepBehind, "the optimizers are at step %v, but %s counts %d steps (%d of them skipped)", want, diag.Name(m.name), m.steps, m.skipped)
		p.File, p.Want, p.Got = s.path(m.name), fmt.Sprintf("step %v", want), fmt.Sprintf("step %d", m.steps-m.skipped)
		p.Cause = "the run was resumed without its optimizer state, or the model file is of another save"
		p.Fix = "compare the weights with the working copy: safeckpt merge-zero --verify"
		s.report.Add(p)
	}
}

// checkModels holds the model files of a part against each other and refuses
// variants of ZeRO that lay out their pieces in another way.
func (s *Shards) checkModels(p *part) {
	m := p.model()
	switch {
	case m.mics:
		_ = s.content(diag.ShardLayoutUnknown, s.path(m.name), "the run used MiCS (mics_shard_size), whose pieces repeat in groups of ranks; this is not merged")
	case m.autoEP:
		_ = s.content(diag.ShardLayoutUnknown, s.path(m.name), "the run used AutoEP, which cuts experts over ranks; this is not merged")
	case m.tp > 1:
		_ = s.content(diag.TensorParallel, s.path(m.name), "the run used tensor parallelism of degree %d: each file holds a part of every tensor", m.tp)
	}
	if m.rank < 0 { // stages 1 and 2: one file
		return
	}
	world := m.world
	if len(p.ranks) > 0 {
		world = int64(s.Ranks)
	}
	have := make(map[int]bool)
	for _, m := range p.models {
		have[m.rank] = true
		if int64(m.rank) >= world && world > 0 {
			s.extra(m.rankName, fmt.Sprintf("%s is of rank %d, but the checkpoint has %s (0 to %d)", diag.Name(m.name), m.rank, diag.Count(world, "rank"), world-1), m.world)
		}
	}
	for rank := 0; int64(rank) < world && len(have) < int(world) && rank <= len(p.models); rank++ {
		if have[rank] {
			continue
		}
		name := sibling(m.name, rank)
		p := diag.New(diag.RankMissing, "%s is missing: in stage 3 each of the %d ranks has one, with its part of every frozen parameter", diag.Name(name), world)
		p.File, p.Want, p.Got = s.path(name), fmt.Sprintf("%d model files", world), fmt.Sprint(len(have))
		p.Cause, p.Fix = "the save was killed, or the file lies on another node's disk", "copy it here from the node of that rank, or merge another tag"
		s.report.Add(p)
	}
}

// sameModel holds another rank's model file against the first.
func (s *Shards) sameModel(m, other *modelFile) {
	if !slices.EqualFunc(m.params, other.params, sameParams) || !sameParams(m.frozen, other.frozen) {
		_ = s.content(diag.RanksDisagree, s.path(other.name), "names or shapes of parameters differ from those in %s", diag.Name(m.name))
	} else if other.steps != m.steps || other.world != m.world || other.version != m.version {
		_ = s.content(diag.RanksDisagree, s.path(other.name), "step %d, %d ranks, DeepSpeed %s, but %s says step %d, %d ranks, DeepSpeed %s",
			other.steps, other.world, diag.Name(other.version), diag.Name(m.name), m.steps, m.world, diag.Name(m.version))
	}
}

func sameParams(a, b []param) bool {
	return slices.EqualFunc(a, b, func(a, b param) bool { return a.name == b.name && slices.Equal(a.shape, b.shape) })
}
