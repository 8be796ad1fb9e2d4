package zero

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// checkSources does the checks that read data, before anything is written.
func (m *merge) checkSources(ctx context.Context) error {
	report := &diag.Report{}
	if m.o.CheckCRC {
		if err := m.s.checkSums(ctx, report); err != nil {
			return err
		}
	}
	if m.o.Verify {
		if err := m.verify(ctx, report); err != nil {
			return err
		}
	}
	if report.Count(diag.Error) > 0 {
		return &Error{report}
	}
	m.stats.Report.Merge("", report)
	return nil
}

// A workingCopy is what the model computed with: the master weights, rounded.
type workingCopy struct {
	file  string // where it is, for messages
	dtype safetensors.DType
	shape []int64
	swap  bool
	open  func() io.Reader
}

// verify holds the master weights, rounded, against the working copy: that in the
// model file, or, where stage 3 saves none, the weights that the Trainer gathered.
func (m *merge) verify(ctx context.Context, report *diag.Report) error {
	files := make(sources, len(m.s.files))
	defer func() { files.close() }()
	find, where := m.modelCopy(files), "the model files"
	if m.s.working == nil {
		model, err := m.s.gathered()
		if err != nil {
			return err
		}
		if model == nil {
			m.unverified(report, "no model file has one, and no model.safetensors or adapter_model.safetensors lies beside the shards", nil)
			return nil
		}
		defer model.close()
		find, where = model.find, "the files beside the shards"
	}
	var without []string
	seen := make(map[string]bool)
	for _, t := range m.s.tensors {
		if err := ctx.Err(); err != nil {
			return err
		}
		if t.origin != trainable {
			continue
		}
		w, err := find(t.name)
		if err != nil {
			return err
		}
		if w == nil {
			without = append(without, t.name)
			continue
		}
		seen[w.file] = true
		m.stats.Verified++
		if !slices.Equal(w.shape, t.shape) {
			differs(report, t, w, -1)
			continue
		}
		if err := files.openFor(m.s, t); err != nil {
			return err
		}
		at, err := compare(ctx, files, t, w)
		if err != nil {
			return err
		}
		if at >= 0 {
			differs(report, t, w, at)
		}
	}
	m.stats.VerifiedWith = slices.Sorted(maps.Keys(seen))
	if len(without) > 0 {
		m.unverified(report, where+" lack them", without)
	}
	return nil
}

// unverified says what could not be held against a working copy; nil is all.
func (m *merge) unverified(report *diag.Report, why string, names []string) {
	p := diag.New(diag.WorkingCopyAbsent, "nothing was held against a working copy: %s", why)
	if m.stats.Verified > 0 {
		p = diag.New(diag.WorkingCopyAbsent, "%d of %d trained parameters were not held against a working copy, %s: %s", len(names), len(names)+m.stats.Verified, why, list(names))
		p.Severity = diag.Note
	}
	p.File = m.s.Tag
	p.Cause = "stage 3 and FSDP save no working copy; the Trainer does with stage3_gather_16bit_weights_on_model_save"
	p.Fix = "--check-crc finds damaged bytes"
	report.Add(p)
}

// modelCopy finds working copies in the model files.
func (m *merge) modelCopy(files sources) func(string) (*workingCopy, error) {
	return func(name string) (*workingCopy, error) {
		w := m.s.working[name]
		if w == nil {
			return nil, nil
		}
		d, ok := w.headerDType()
		if !ok || !isFloat(w) {
			return nil, nil
		}
		if err := files.openFor(m.s, w); err != nil {
			return nil, err
		}
		file := m.s.Tag
		for i := range w.sources() {
			file = m.s.files[i].name
		}
		return &workingCopy{file, d, w.shape, w.swap, func() io.Reader { return w.open(files) }}, nil
	}
}

// gathered are weights beside the shards.
type gathered struct {
	base  string
	model *safetensors.Model // nil if it is an adapter
	file  *safetensors.File
}

// gathered opens the weights that the Trainer writes beside the shards of the same
// step; nil if there are none.
func (s *Shards) gathered() (*gathered, error) {
	g := &gathered{base: s.base}
	sub, err := fs.Sub(s.fsys, s.base)
	if err != nil {
		return nil, err
	}
	o := &safetensors.OpenOptions{NoMap: true}
	switch {
	case s.has("model.safetensors"), s.has("model.safetensors.index.json"):
		g.model, err = safetensors.OpenModel(sub, o)
	case s.has("adapter_model.safetensors"):
		g.file, err = safetensors.OpenFS(sub, "adapter_model.safetensors", o)
	default:
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("zero: the weights beside the shards: %w", err)
	}
	return g, nil
}

func (g *gathered) close() { // they were only read
	if g.model != nil {
		_ = g.model.Close()
	} else {
		_ = g.file.Close()
	}
}

// find returns nil too if only a placeholder was saved, as stage 3 does where the
// weights were not gathered.
func (g *gathered) find(name string) (*workingCopy, error) {
	var t safetensors.Tensor
	var err error
	if g.model != nil {
		t, err = g.model.Tensor(name)
	} else {
		t, err = g.file.Tensor(adapterName(name))
	}
	if err != nil {
		return nil, nil // it is not there
	}
	info := t.Info()
	w := &workingCopy{file: path.Join(g.base, path.Base(t.File().Name())), dtype: info.DType, open: func() io.Reader { return t.Open() }}
	for _, n := range info.Shape {
		w.shape = append(w.shape, int64(n))
	}
	switch info.DType {
	case safetensors.F64, safetensors.F32, safetensors.F16, safetensors.BF16:
	default:
		return nil, nil // quantized
	}
	if len(info.Shape) == 1 && info.Shape[0] == 0 {
		return nil, nil
	}
	return w, nil
}

func differs(report *diag.Report, t *tensor, w *workingCopy, at int64) {
	p := diag.New(diag.WorkingCopyDiffers, "%s: element %d, rounded to %v, is not that of the working copy in %s", diag.Name(t.name), at, w.dtype, diag.Name(w.file))
	if at < 0 {
		p = diag.New(diag.WorkingCopyDiffers, "%s has shape %v, but %v in the working copy in %s", diag.Name(t.name), t.shape, w.shape, diag.Name(w.file))
	}
	p.File, p.Tensor = w.file, t.name
	p.Cause = "the optimizer files and the working copy are of different steps, or a rank's file is another's"
	p.Fix = "copy the whole directory again, or merge another tag"
	report.Add(p)
}

// compare returns the first element of t that, rounded, is not that of w, or -1.
func compare(ctx context.Context, files sources, t *tensor, w *workingCopy) (int64, error) {
	size := int64(w.dtype.Bits() / 8)
	master, working := t.open(files), w.open()
	c := converter{}
	want := make([]byte, min(t.numel, blockElements)*size)
	for at := int64(0); at < t.numel; {
		if err := ctx.Err(); err != nil {
			return -1, err
		}
		n := min(t.numel-at, blockElements)
		c.in = slices.Grow(c.in[:0], int(n*t.dtype.Size()))[:n*t.dtype.Size()]
		want = want[:n*size]
		if _, err := io.ReadFull(master, c.in); err != nil {
			return -1, err
		}
		if _, err := io.ReadFull(working, want); err != nil {
			return -1, err
		}
		if w.swap {
			swapBytes(want, int(size))
		}
		got, err := c.convert(t, w.dtype)
		if err != nil {
			return -1, err
		}
		if i, err := firstDifference(got, want, w.dtype); i >= 0 || err != nil {
			return at + i, err
		}
		at += n
	}
	return -1, nil
}

// firstDifference returns the first element of a float dtype that differs, or -1.
// NaNs are equal: processors differ in their bits.
func firstDifference(got, want []byte, d safetensors.DType) (int64, error) {
	if bytes.Equal(got, want) {
		return -1, nil
	}
	a, err := safetensors.DecodeFloat32(nil, d, got)
	if err != nil {
		return -1, err
	}
	b, err := safetensors.DecodeFloat32(nil, d, want)
	if err != nil {
		return -1, err
	}
	for i, x := range a {
		if y := b[i]; x != y && (x == x || y == y) {
			return int64(i), nil
		}
	}
	return -1, nil
}
