package zero

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/pickle"
)

// planUniversal collects zero/NAME/fp32.pt. Follows DeepSpeed 0.19.8
// checkpoint/ds_to_universal.py: from stages 1 and 2 they are dicts with the
// tensor in its shape, from stage 3 bare vectors.
func (s *Shards) planUniversal(ctx context.Context, out *plan, p *part) error {
	s.planKept(out, p)
	for _, group := range p.model().params {
		for _, q := range group {
			if err := ctx.Err(); err != nil {
				return err
			}
			if q.name == "." || q.name == ".." || strings.ContainsAny(q.name, `/\`) {
				return s.content(diag.RankFileContent, s.path(p.model().name), "%s is no name of a parameter", diag.Name(q.name))
			}
			name := path.Join(universalDir, q.name, "fp32.pt")
			err := s.withFile(ctx, name, func(t *torchFile) error {
				v := t.Root
				if v.Kind() == pickle.Mapping {
					v = v.Get("param")
				}
				st, err := t.stored(v)
				if err != nil {
					return err
				}
				if st.numel != q.numel || len(st.shape) != 1 && !slices.Equal(st.shape, q.shape) {
					return s.content(diag.PartitionSize, t.name, "shape %v, but the model file says %v for %s", st.shape, q.shape, diag.Name(q.name))
				}
				w := whole(q.name, st, trainable)
				w.shape = q.shape
				if w.stride != nil && len(st.shape) == 1 && len(q.shape) != 1 {
					return s.content(diag.RankFileContent, t.name, "a vector whose elements do not lie end to end")
				}
				out.put(w)
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// planExperts takes the weights of experts from their own files, which hold the
// working copy under global names. The ranks' partitions of expert groups name
// experts by their place on the rank only.
func (s *Shards) planExperts(ctx context.Context, out *plan, l *tagListing) error {
	halves, names := 0, 0
	for _, n := range l.experts {
		err := s.withFile(ctx, n.name, func(t *torchFile) error {
			experts := make(map[string]*stored)
			order, err := t.tensors(t.Root, experts)
			if err != nil {
				return err
			}
			for _, name := range order {
				w := whole(name, experts[name], expert)
				if w.dtype.Size() < 4 {
					halves++
				}
				names++
				out.put(w)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if int64(names) < s.experts {
		p := diag.New(diag.RankMissing, "files of experts are missing: %d tensors of experts in %d files, want %d", names, len(l.experts), s.experts)
		p.File, p.Want, p.Got = s.Tag, fmt.Sprintf("%d tensors in layer_L_expert_E_mp_rank_00_model_states.pt", s.experts), fmt.Sprint(names)
		p.Cause, p.Fix = "the save was killed, or the files lie on other nodes", "copy them here, or merge another tag"
		return s.refuse(p)
	}
	if halves > 0 {
		p := diag.New(diag.ExpertsWorkingCopy, "%d of %d weights of experts come from their own files, in 16 bits", halves, names)
		p.File = s.Tag
		p.Cause = "the fp32 master weights of experts are split by place, not by name; this is the copy that the model computed with"
		s.report.Add(p)
	}
	return nil
}

// planLayers adds what a pipeline's layer files have and its flat groups lack:
// buffers and frozen parameters. Names in them lack the layer's number.
func (s *Shards) planLayers(ctx context.Context, out *plan, l *tagListing) error {
	var names []string
	for _, n := range l.layers {
		err := s.withFile(ctx, n.name, func(t *torchFile) error {
			layer := make(map[string]*stored)
			order, err := t.tensors(t.Root, layer)
			if err != nil {
				return err
			}
			for _, local := range order {
				name := fmt.Sprintf("%d.%s", n.rank, local)
				w := whole(name, layer[local], frozen)
				if s.working == nil {
					s.working = make(map[string]*tensor)
				}
				s.working[name] = w
				if out.get(name) == nil {
					out.put(w)
					names = append(names, name)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if len(names) > 0 {
		p := diag.New(diag.FrozenFromModule, "%d frozen weights and buffers come from the layers' files: %s", len(names), list(names))
		p.File = s.Tag
		s.report.Add(p)
	}
	return nil
}
