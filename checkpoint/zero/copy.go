package zero

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/directio"
	"github.com/safeckpt/safeckpt/internal/modeldir"
	"github.com/safeckpt/safeckpt/safetensors"
)

// A job is a part of a tensor of the result: bytes [off, off+n) of it, or, if they
// are converted, elements.
type job struct {
	t      *tensor
	w      *safetensors.TensorWriter
	d      safetensors.DType
	piece  piece
	at     int64 // in elements of the tensor
	gather bool
}

// jobSize bounds how much one goroutine copies before it looks at ctx.
const jobSize = 16 << 20

// copyAll copies the data of all tensors, in the order of the file.
func (m *merge) copyAll(ctx context.Context, w writer, order []safetensors.TensorInfo) error {
	files := make(sources, len(m.s.files))
	defer files.close()
	for _, t := range m.tensors {
		if err := files.openFor(m.s, t); err != nil {
			return err
		}
	}
	byName := make(map[string]*tensor, len(m.tensors))
	total := int64(0)
	for _, t := range m.tensors {
		byName[t.name] = t
	}
	for i := range order {
		total += int64(order[i].Bytes())
	}
	workers := m.o.Workers
	if workers <= 0 {
		workers = min(runtime.GOMAXPROCS(0), 8)
	}
	group, ctx := errgroup.WithContext(ctx)
	jobs := make(chan job)
	var done, read atomic.Int64
	group.Go(func() error {
		defer close(jobs)
		for i := range order {
			t := byName[order[i].Name]
			w, err := w.Tensor(t.name)
			if err != nil {
				return err
			}
			send := func(j job) bool {
				j.t, j.w, j.d = t, w, order[i].DType
				select {
				case jobs <- j:
					return true
				case <-ctx.Done():
					return false
				}
			}
			at := int64(0)
			if (t.stride != nil || t.chunks != nil) && !send(job{gather: true}) {
				return ctx.Err()
			}
			for _, p := range t.pieces {
				for p.n > 0 {
					part := piece{p.file, p.off, min(p.n, jobSize)}
					if !send(job{piece: part, at: at}) {
						return ctx.Err()
					}
					at += part.n / t.dtype.Size()
					p.off, p.n = p.off+part.n, p.n-part.n
				}
			}
		}
		return nil
	})
	var gathering sync.Mutex
	for range workers {
		group.Go(func() error {
			c := &converter{files: files, gathering: &gathering}
			for j := range jobs {
				if err := ctx.Err(); err != nil {
					return err
				}
				n, err := c.run(j)
				if err != nil {
					return m.s.copyError(j.t, err)
				}
				done.Add(n)
				read.Add(j.piece.n)
			}
			return nil
		})
	}
	var progress func()
	if m.o.Progress != nil {
		progress = func() { m.o.Progress(done.Load(), total) }
	}
	err := modeldir.Wait(group.Wait, progress)
	m.stats.Bytes, m.stats.Read = done.Load(), read.Load()
	return err
}

// sources are the open files, by their index in Shards.files; nil if not needed.
type sources []sourceFile

func (f sources) close() {
	for _, file := range f {
		if file != nil {
			_ = file.Close() // it was only read
		}
	}
}

// openFor opens the files that a tensor is read from, unless they are open.
func (f sources) openFor(s *Shards, t *tensor) error {
	for i := range t.sources() {
		if f[i] == nil {
			file, err := s.openSource(i)
			if err != nil {
				return err
			}
			f[i] = file
		}
	}
	return nil
}

// openSource opens a file, of which large parts will be read once, and makes sure
// that it is the one that was looked at.
func (s *Shards) openSource(i int) (sourceFile, error) {
	src := s.files[i]
	f, err := s.fsys.Open(src.name)
	if err != nil {
		return nil, err
	}
	f = directio.ReadOnce(f)
	info, err := f.Stat()
	r, ok := f.(sourceFile)
	if err == nil {
		err = src.changed(info)
	}
	if err == nil && !ok {
		err = fmt.Errorf("zero: %s cannot be read at an offset", src.name)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return r, nil
}

// changed returns an error unless info is what the file was when it was looked at.
func (src *source) changed(info fs.FileInfo) error {
	if info.Size() == src.info.Size() && info.ModTime().Equal(src.info.ModTime()) {
		return nil
	}
	return fmt.Errorf("zero: %s was changed while it was read (it had %s, now %d): merge again when nothing writes to the checkpoint",
		diag.Name(src.name), diag.Count(src.info.Size(), "byte"), info.Size())
}

// copyError says what a tensor could not be copied for. If one of its files ended
// early, that is the reason.
func (s *Shards) copyError(t *tensor, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		for i := range t.sources() {
			info, statErr := fs.Stat(s.fsys, s.files[i].name)
			if statErr != nil {
				return fmt.Errorf("zero: tensor %s: %w", diag.Name(t.name), statErr)
			}
			if changed := s.files[i].changed(info); changed != nil {
				return changed
			}
		}
	}
	return fmt.Errorf("zero: %w", err)
}
