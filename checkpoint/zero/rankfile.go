package zero

import (
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/pickle"
	"github.com/safeckpt/safeckpt/internal/torchzip"
)

// A rankFile is what one rank's optimizer file says.
type rankFile struct {
	rankName
	stage      int     // 1 to 3
	counts     []int64 // partition_count: of each group; one number in stage 3
	version    string
	groups     []*stored    // the rank's partition of each flat group, one-dimensional
	gaps       [][]int64    // after each parameter of each group; nil if none are said
	slices     [][]fragment // where parameters lie in each partition; nil if not said
	roundRobin bool         // round_robin_gradients: slices are of another order than the partitions
	step       float64      // of the optimizer, -1 if not said
}

// A fragment is a parameter's part of a partition.
type fragment struct {
	name         string
	start, numel int64
}

// world returns the number of data-parallel ranks that the file tells of.
func (r *rankFile) world() int64 { return slices.Max(r.counts) }

// readRank reads an optimizer file. Follows DeepSpeed 0.19.8 runtime/zero/
// stage_1_and_2.py, stage3.py and bf16_optimizer.py, state_dict.
func (s *Shards) readRank(ctx context.Context, n rankName) (*rankFile, error) {
	r := &rankFile{rankName: n, step: -1}
	err := s.withFile(ctx, n.name, func(t *torchFile) error {
		state := t.Root.Get("optimizer_state_dict")
		if err := state.Err(); err != nil {
			return err
		}
		groups, masters := state.Lookup("single_partition_of_fp32_groups")
		stage, staged := state.Lookup("zero_stage")
		switch {
		case staged:
			k, err := stage.Enum().Int()
			if err != nil {
				return err
			}
			if k < 1 || k > 3 {
				return s.stageUnknown(t, stage, k)
			}
			r.stage = int(k)
		case masters:
			r.stage = 1 // BF16_Optimizer, whose files do not say
		default:
			p := diag.New(diag.NotZeRO, "%s is of a plain checkpoint (ZeRO stage 0): optimizer_state_dict has no zero_stage", diag.Name(t.name))
			p.File, p.Want, p.Got = t.name, "zero_stage 1, 2 or 3", "none"
			p.Cause, p.Fix = "the run was trained with ZeRO off", "take the weights from module in mp_rank_00_model_states.pt"
			return s.refuse(p)
		}
		if r.stage == 3 {
			groups = state.Get("fp32_flat_groups")
		}
		if err := r.readGroups(t, groups); err != nil {
			return err
		}
		if err := r.readCounts(state.Get("partition_count")); err != nil {
			return err
		}
		if gaps, ok := state.Lookup("param_alignment_paddings"); ok && !gaps.IsNone() {
			elems, err := gaps.Elems()
			if err != nil {
				return err
			}
			for _, v := range elems {
				group, err := v.Ints()
				if err != nil {
					return err
				}
				r.gaps = append(r.gaps, group)
			}
		}
		r.readSlices(state.Get("param_slice_mappings"))
		r.readStep(t, state)
		r.version, _ = t.Root.Get("ds_version").Text()
		r.roundRobin, _ = t.Root.Get("ds_config", "zero_optimization", "round_robin_gradients").Bool()
		return nil
	})
	return r, err
}

func (s *Shards) stageUnknown(t *torchFile, v pickle.Value, k int64) error {
	p := diag.New(diag.StageUnknown, "%s: unknown zero_stage %d, want 1, 2 or 3", diag.Name(t.name), k)
	p.File, p.Want, p.Got = t.name, "1, 2 or 3", fmt.Sprint(k)
	if off := v.Offset(); off >= 0 {
		p.Offset = diag.At(off)
	}
	p.Cause, p.Fix = "the file was edited, or is of a DeepSpeed that is newer than this program", "copy the file again, or merge another tag"
	return s.refuse(p)
}

func (r *rankFile) readGroups(t *torchFile, groups pickle.Value) error {
	elems, err := groups.Elems()
	if err != nil {
		return err
	}
	for _, v := range elems {
		st, err := t.stored(v)
		if err != nil {
			return err
		}
		if st.stride != nil || len(st.shape) != 1 {
			return fmt.Errorf("%w: the partition of group %d has shape %v, want one dimension", torchzip.ErrStrided, len(r.groups), st.shape)
		}
		r.groups = append(r.groups, st)
	}
	return nil
}

func (r *rankFile) readCounts(v pickle.Value) error {
	n, err := v.Int()
	r.counts = []int64{n}
	if err != nil {
		if r.counts, err = v.Ints(); err != nil {
			return err
		}
	}
	if len(r.counts) == 0 {
		r.counts = []int64{0}
	}
	return nil
}

// readSlices reads a cross-check that old versions do not write.
func (r *rankFile) readSlices(v pickle.Value) {
	groups, err := v.Elems()
	if err != nil {
		return
	}
	for _, group := range groups {
		var list []fragment
		items, err := group.Items()
		if err != nil {
			r.slices = nil
			return
		}
		for k, at := range items {
			name, err := k.Text()
			start, err1 := at.Get("start").Int()
			numel, err2 := at.Get("numel").Int()
			if err != nil || err1 != nil || err2 != nil {
				r.slices = nil
				return
			}
			list = append(list, fragment{name, start, numel})
		}
		r.slices = append(r.slices, list)
	}
}

// readStep finds the highest step of any group: in the state of torch's Adam, in
// that of an elastic checkpoint, or in the groups, where FusedAdam has it.
func (r *rankFile) readStep(t *torchFile, state pickle.Value) {
	take := func(v pickle.Value) {
		if step, ok := t.scalar(v); ok {
			r.step = max(r.step, step)
		}
	}
	base := state.Get("base_optimizer_state")
	if r.stage == 3 {
		base = state.Get("optimizer_state_dict")
	}
	take(state.Get("base_optimizer_state_step"))
	if items, err := base.Get("state").Items(); err == nil {
		for _, v := range items {
			take(v.Get("step"))
		}
	}
	for _, list := range []pickle.Value{base, base.Get("param_groups")} {
		if elems, err := list.Elems(); err == nil {
			for _, v := range elems {
				take(v.Get("step"))
			}
		}
	}
}

// path returns the file's path in the checkpoint.
func (s *Shards) path(name string) string { return path.Join(s.Tag, name) }
