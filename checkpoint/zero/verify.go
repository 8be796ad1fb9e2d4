package zero

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/torchzip"
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
	m.s.report.Merge("", report)
	return nil
}

// checkSums reads all files and compares checksums.
func (s *Shards) checkSums(ctx context.Context, report *diag.Report) error {
	if s.FSDP {
		return errors.New("zero: the checksums of a distributed checkpoint's items cannot be checked yet: leave out --check-crc")
	}
	for i, src := range s.files {
		f, err := s.openSource(i)
		if err != nil {
			return err
		}
		archive, err := torchzip.Open(ctx, f, src.info.Size())
		var checked *torchzip.Checked
		if err == nil {
			checked, err = archive.Check(ctx, nil)
		}
		_ = f.Close() // it was only read
		if err != nil {
			return err
		}
		for _, damaged := range checked.Damaged {
			p := diag.New(diag.ShardChecksum, "%s: %v", diag.Name(src.name), damaged)
			p.File, p.Offset = src.name, diag.At(damaged.Offset)
			p.Cause = "the disk, the memory or a copy damaged the bytes"
			p.Fix = "copy the file again from where it is whole, or merge another tag"
			report.Add(p)
		}
		if n := len(checked.Unchecked); n > 0 {
			p := diag.New(diag.ShardChecksumAbsent, "%s: %d members have no checksum, so they could not be checked", diag.Name(src.name), n)
			p.File = src.name
			report.Add(p)
		}
	}
	return nil
}

// verify holds the master weights, rounded, against the working copy. Stage 3
// saves none.
func (m *merge) verify(ctx context.Context, report *diag.Report) error {
	files := make(sources, len(m.s.files))
	defer func() { files.close() }()
	open := func(t *tensor) error {
		for _, p := range t.pieces {
			if files[p.file] == nil {
				f, err := m.s.openSource(p.file)
				if err != nil {
					return err
				}
				files[p.file] = f
			}
		}
		return nil
	}
	for _, t := range m.s.tensors {
		if err := ctx.Err(); err != nil {
			return err
		}
		w := m.s.working[t.name]
		if w == nil || t.origin != trainable || w.stride != nil || w.swap || t.swap || !isFloat(w) {
			continue
		}
		if !slices.Equal(w.shape, t.shape) {
			m.differs(report, t, w, -1)
			continue
		}
		if err := open(t); err != nil {
			return err
		}
		if err := open(w); err != nil {
			return err
		}
		at, err := compare(ctx, files, t, w)
		if err != nil {
			return err
		}
		if at >= 0 {
			m.differs(report, t, w, at)
		}
	}
	return nil
}

func (m *merge) differs(report *diag.Report, t, w *tensor, at int64) {
	p := diag.New(diag.WorkingCopyDiffers, "%s: element %d, rounded to %v, is not that of the working copy", diag.Name(t.name), at, w.dtype)
	if at < 0 {
		p = diag.New(diag.WorkingCopyDiffers, "%s has shape %v, but %v in the working copy", diag.Name(t.name), t.shape, w.shape)
	}
	p.Tensor = t.name
	p.Cause = "the optimizer files and the model file are of different steps, or a rank's file is another's"
	p.Fix = "copy the whole tag directory again, or merge another tag"
	report.Add(p)
}

// compare returns the first element of t that, rounded, is not that of w, or -1.
func compare(ctx context.Context, files sources, t, w *tensor) (int64, error) {
	d, ok := safetensors.ParseDType(w.dtype.HeaderName())
	if !ok {
		return -1, nil
	}
	master, working := newStream(files, t.pieces), newStream(files, w.pieces)
	in := make([]byte, blockElements*t.dtype.Size())
	want := make([]byte, blockElements*w.dtype.Size())
	var floats []float32
	var got []byte
	for at := int64(0); at < t.numel; {
		if err := ctx.Err(); err != nil {
			return -1, err
		}
		n := min(t.numel-at, blockElements)
		in, want = in[:n*t.dtype.Size()], want[:n*w.dtype.Size()]
		if _, err := io.ReadFull(master, in); err != nil {
			return -1, err
		}
		if _, err := io.ReadFull(working, want); err != nil {
			return -1, err
		}
		var err error
		floats = decode(floats[:0], t.dtype, in)
		if got, err = safetensors.EncodeFloat32(got[:0], d, floats); err != nil {
			return -1, err
		}
		if !bytes.Equal(got, want) {
			i := 0
			for got[i] == want[i] {
				i++
			}
			return at + int64(i)/w.dtype.Size(), nil
		}
		at += n
	}
	return -1, nil
}

// newStream reads pieces one after another.
func newStream(files sources, pieces []piece) io.Reader {
	var parts []io.Reader
	for _, p := range pieces {
		parts = append(parts, io.NewSectionReader(files[p.file], p.off, p.n))
	}
	return io.MultiReader(parts...)
}
