package zero

import (
	"context"
	"errors"
	"math"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/pickle"
)

// A modelFile is what one model file says.
type modelFile struct {
	rankName
	names     []string           // of module, in its order
	module    map[string]*stored // the working copy; placeholders in stage 3
	buffers   []string
	params    [][]param // of each group (stage 3: sub-group), in the order of the flat vectors
	frozen    []param   // nil if not said
	noFrozen  bool      // frozen_param_shapes is None
	fragments map[string]*stored
	shared    [][2]string // alias, name that has the data
	world     int64       // data-parallel ranks, 0 if not said
	steps     int64       // global_steps, -1 if not said
	skipped   int64
	pp, tp    int64 // degrees, 0 if not said
	version   string
	mics      bool
	autoEP    bool
	lightning bool // the caller was Lightning
}

// A param is a name with its shape.
type param struct {
	name  string
	shape []int64
	numel int64
}

// readModel reads a model file. Follows DeepSpeed 0.19.8 runtime/engine.py,
// _save_checkpoint.
func (s *Shards) readModel(ctx context.Context, n rankName) (*modelFile, error) {
	m := &modelFile{rankName: n, steps: -1, module: make(map[string]*stored), fragments: make(map[string]*stored)}
	err := s.withFile(ctx, n.name, func(t *torchFile) error {
		buffers, err := t.Root.Get("buffer_names").Elems()
		if err != nil {
			return err
		}
		for _, v := range buffers {
			name, err := v.Text()
			if err != nil {
				return err
			}
			m.buffers = append(m.buffers, name)
		}
		if v := t.Root.Get("module"); !v.IsNone() { // None in pipelines
			if m.names, err = t.tensors(v, m.module); err != nil {
				return err
			}
		}
		if err := m.readShapes(t.Root.Get("param_shapes")); err != nil {
			return err
		}
		m.noFrozen = true
		if v, ok := t.Root.Lookup("frozen_param_shapes"); ok && !v.IsNone() {
			m.noFrozen = false
			if m.frozen, err = readParams(v); err != nil {
				return err
			}
		}
		if v, ok := t.Root.Lookup("frozen_param_fragments"); ok && !v.IsNone() {
			if _, err := t.tensors(v, m.fragments); err != nil {
				return err
			}
		}
		if v, ok := t.Root.Lookup("shared_params"); ok && !v.IsNone() {
			items, err := v.Items()
			if err != nil {
				return err
			}
			for k, v := range items {
				alias, err := k.Text()
				name, err1 := v.Text()
				if err := errors.Join(err, err1); err != nil {
					return err
				}
				m.shared = append(m.shared, [2]string{alias, name})
			}
		}
		m.readFacts(t.Root)
		return nil
	})
	return m, err
}

// tensors reads a dict of tensors. Other values, such as the extra state of a
// module, are passed over.
func (t *torchFile) tensors(v pickle.Value, into map[string]*stored) ([]string, error) {
	items, err := v.Items()
	if err != nil {
		return nil, err
	}
	var names []string
	for k, v := range items {
		name, err := k.Text()
		if err != nil {
			return nil, err
		}
		if v.Kind() != pickle.TensorKind {
			continue
		}
		st, err := t.stored(v)
		if err != nil {
			return nil, err
		}
		if into[name] == nil {
			names = append(names, name)
		}
		into[name] = st
	}
	return names, nil
}

func (m *modelFile) readShapes(v pickle.Value) error {
	if v.Kind() == pickle.Mapping { // one group, as versions before 0.3.13 wrote it
		group, err := readParams(v)
		m.params = [][]param{group}
		return err
	}
	if v.IsNone() {
		return nil // ZeRO is off, which the optimizer file tells
	}
	elems, err := v.Elems()
	if err != nil {
		return err
	}
	for _, v := range elems {
		group, err := readParams(v)
		if err != nil {
			return err
		}
		m.params = append(m.params, group)
	}
	return nil
}

func readParams(v pickle.Value) ([]param, error) {
	items, err := v.Items()
	if err != nil {
		return nil, err
	}
	list := []param{}
	for k, v := range items {
		p := param{}
		if p.name, err = k.Text(); err != nil {
			return nil, err
		}
		if p.shape, err = v.Ints(); err != nil {
			return nil, err
		}
		var ok bool
		if p.numel, ok = numel(p.shape); !ok {
			_, err := v.Text() // says where in the pickle the value is
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// numel multiplies dimensions; it reports whether they are sizes whose product
// fits the bytes that a file can have.
func numel(shape []int64) (int64, bool) {
	n, zero := int64(1), false
	for _, d := range shape {
		if d < 0 {
			return 0, false
		}
		zero = zero || d == 0
	}
	if zero {
		return 0, true
	}
	for _, d := range shape {
		if n > math.MaxInt64/16/d {
			return 0, false
		}
		n *= d
	}
	return n, true
}

// readFacts reads what only checks use; old versions lack some.
func (m *modelFile) readFacts(root pickle.Value) {
	m.version, _ = root.Get("ds_version").Text()
	m.world, _ = root.Get("dp_world_size").Int()
	m.skipped, _ = root.Get("skipped_steps").Int()
	if n, err := root.Get("global_steps").Int(); err == nil {
		m.steps = n
	}
	m.pp, _ = root.Get("checkpoint_parallel_dimensions", "pp_degree").Int()
	m.tp, _ = root.Get("checkpoint_parallel_dimensions", "tp_degree").Int()
	mics, _ := root.Get("ds_config", "zero_optimization", "mics_shard_size").Int()
	m.mics = mics > 0
	_, m.lightning = root.Lookup("pytorch-lightning_version")
	for _, key := range []string{"ds_autoep_layers", "autoep_layers"} {
		if v, ok := root.Lookup(key); ok && v.Len() > 0 {
			m.autoEP = true
		}
	}
}

// isBuffer returns the set of buffer names.
func (m *modelFile) isBuffer() map[string]bool {
	set := make(map[string]bool, len(m.buffers))
	for _, name := range m.buffers {
		set[name] = true
	}
	return set
}

// modelsMissing says that names and shapes are not known.
func (s *Shards) modelsMissing() error {
	p := diag.New(diag.ModelStatesMissing, "no *_model_states.pt in %s: names and shapes of the parameters are not known", diag.Name(s.Tag))
	p.File, p.Want, p.Got = s.Tag, "mp_rank_00_model_states.pt, or in stage 3 one zero_pp_rank_R_mp_rank_00_model_states.pt for each rank", "none"
	p.Cause, p.Fix = "rank 0 did not finish its save, or the file was not copied", "copy the file, or merge another tag"
	return s.refuse(p)
}
