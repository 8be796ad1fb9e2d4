package safetensors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/atomicfile"
)

// WriterOptions are the ways to write a file; nil means the defaults.
type WriterOptions struct {
	// Align is what the data section's offset in the file is a multiple of: a
	// power of two from 8 to 65536; 0 means 8, as the reference writes. The page
	// size lets readers map the data without a copy on every platform.
	Align int

	// InPlace allows an existing file to be overwritten where the file system
	// refuses to rename, as some object stores do. A crash during that copy loses
	// the old file; without InPlace the write fails and the old file stays.
	// A file that does not exist yet is always copied there.
	InPlace bool

	// Step, if not nil, is called before every operation that changes files, with
	// the operation ("create", "write", "sync", "rename", ...) and the path; if it
	// returns an error, that is returned in place of the operation. It lets tests
	// stop a writer at every point. Parallel writes call it concurrently.
	Step func(op, path string) error
}

func (o *WriterOptions) atomic() *atomicfile.Options {
	if o == nil {
		return nil
	}
	return &atomicfile.Options{InPlace: o.InPlace, Step: o.Step}
}

func (o *WriterOptions) align() (int, error) {
	if o == nil || o.Align == 0 {
		return 8, nil
	}
	if a := o.Align; a < 8 || a > 65536 || a&(a-1) != 0 {
		return 0, fmt.Errorf("safetensors: alignment %d is not a power of two from 8 to 65536", a)
	}
	return o.Align, nil
}

// A Writer writes one file whose tensors are known ahead and whose data comes
// later, in any order. The file appears under its name, whole, when Commit
// succeeds; until then there is only a temporary file beside it, named
// .safeckpt-tmp-*, and an old file stays as it is.
//
// Tensors of one Writer may be written by several goroutines; Commit and Abort
// wait for none of them.
type Writer struct {
	file    *atomicfile.File
	layout  []TensorInfo
	tensors map[string]*TensorWriter
	size    int64
}

// NewWriter starts to write the file name, in a directory that exists. Of the
// tensors, Name, DType and Shape are used. They are laid out as the reference
// writer does: by dtype, largest first, then by name. Nil metadata is left out.
//
// On Linux a file of 256 MiB or more takes its room on the disk now, and is written
// past the page cache.
//
// It refuses what readers would: a tensor called __metadata__, a name given
// twice, text that is not UTF-8, sub-byte tensors that do not end on a byte,
// sizes over 2^63 bytes, and a header over 100,000,000 bytes.
func NewWriter(name string, tensors []TensorInfo, metadata map[string]string, opts *WriterOptions) (*Writer, error) {
	w, err := newWriter(name, referenceOrder(tensors), metadata, opts)
	if err != nil {
		return nil, fmt.Errorf("safetensors: writing %s: %w", name, err)
	}
	return w, nil
}

func newWriter(name string, layout []TensorInfo, metadata map[string]string, opts *WriterOptions) (*Writer, error) {
	align, err := opts.align()
	if err != nil {
		return nil, err
	}
	size, err := place(layout)
	if err != nil {
		return nil, err
	}
	header, err := appendHeader(nil, layout, metadata, align)
	if err != nil {
		return nil, err
	}
	w := &Writer{
		layout:  layout,
		tensors: make(map[string]*TensorWriter, len(layout)),
		size:    int64(len(header)) + int64(size),
	}
	if w.file, err = atomicfile.Create(name, opts.atomic()); err != nil {
		return nil, err
	}
	if _, err = w.file.Write(header); err == nil {
		err = w.file.Reserve(w.size)
	}
	if err != nil {
		return nil, errors.Join(err, w.file.Abort())
	}
	for i := range layout {
		t := &layout[i]
		w.tensors[t.Name] = &TensorWriter{file: w.file, name: t.Name,
			start: int64(len(header)) + int64(t.Begin), size: int64(t.Bytes())}
	}
	return w, nil
}

// Tensors returns the tensors in the order in which they lie in the file, with
// their offsets. Data that comes in this order is written sequentially. The
// slice must not be modified.
func (w *Writer) Tensors() []TensorInfo { return w.layout }

// Size returns the size that the file will have, in bytes.
func (w *Writer) Size() int64 { return w.size }

// Tensor returns the tensor of that name, to be written. It returns the same
// value every time.
func (w *Writer) Tensor(name string) (*TensorWriter, error) {
	t, ok := w.tensors[name]
	if !ok {
		return nil, fmt.Errorf("safetensors: writing %s: there is no tensor %s", w.file.Name(), diag.Name(name))
	}
	return t, nil
}

// Commit makes the file durable and puts it in its place. It fails, and can be
// called again, while any byte of a tensor has not been written.
func (w *Writer) Commit() error {
	if err := w.complete(); err != nil {
		return err
	}
	if err := w.file.Commit(); err != nil {
		return fmt.Errorf("safetensors: writing %s: %w", w.file.Name(), err)
	}
	return nil
}

// Abort removes the temporary file and leaves an old file as it was. After a
// Commit that succeeded it does nothing, so it can be deferred.
func (w *Writer) Abort() error { return w.file.Abort() }

func (w *Writer) complete() error {
	var first *TensorWriter
	missing := 0
	for i := range w.layout {
		if t := w.tensors[w.layout[i].Name]; t.Written() != t.size {
			if missing++; first == nil {
				first = t
			}
		}
	}
	if missing == 0 {
		return nil
	}
	return fmt.Errorf("safetensors: writing %s: %d of %d tensors are not complete, first: %s with %d of %d bytes",
		w.file.Name(), missing, len(w.layout), diag.Name(first.name), first.Written(), first.size)
}

// A TensorWriter takes the bytes of one tensor: little-endian, row-major, as
// they will stand in the file. Write and ReadFrom append; WriteAt, which is safe
// for concurrent use, puts blocks anywhere in the tensor. Bytes beyond the
// tensor's size are refused.
type TensorWriter struct {
	file        *atomicfile.File
	name        string
	start, size int64
	next        int64 // where Write goes on

	mu    sync.Mutex
	spans []span // what has been written: sorted, apart from one another

	written int64 // sum of the spans
}

type span struct{ begin, end int64 }

// Size returns the number of bytes that the tensor takes.
func (t *TensorWriter) Size() int64 { return t.size }

// Written returns how many of them have been written.
func (t *TensorWriter) Written() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.written
}

// Write appends p to what Write and ReadFrom have written before.
func (t *TensorWriter) Write(p []byte) (int, error) {
	n, err := t.WriteAt(p, t.next)
	t.next += int64(n)
	return n, err
}

// WriteAt writes p at off, counted from the start of the tensor.
func (t *TensorWriter) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || int64(len(p)) > t.size-off {
		return 0, fmt.Errorf("safetensors: tensor %s: %d bytes at %d do not fit its %d bytes",
			diag.Name(t.name), len(p), off, t.size)
	}
	n, err := t.file.WriteAt(p, t.start+off)
	t.wrote(off, off+int64(n))
	if err != nil {
		return n, fmt.Errorf("safetensors: tensor %s: %w", diag.Name(t.name), err)
	}
	return n, nil
}

// CopyAt copies n bytes of src, from srcOff on, to off, counted from the start of
// the tensor. Where src is an *os.File, the kernel copies if it can. It is safe
// for concurrent use. If src ends early the error is io.ErrUnexpectedEOF.
func (t *TensorWriter) CopyAt(src io.ReaderAt, srcOff, n, off int64) (int64, error) {
	if off < 0 || n < 0 || n > t.size-off {
		return 0, fmt.Errorf("safetensors: tensor %s: %d bytes at %d do not fit its %d bytes",
			diag.Name(t.name), n, off, t.size)
	}
	done, err := t.file.CopyAt(src, srcOff, n, t.start+off)
	t.wrote(off, off+done)
	if err != nil {
		return done, fmt.Errorf("safetensors: tensor %s: %w", diag.Name(t.name), err)
	}
	return done, nil
}

// CopyTensor copies bytes [off, off+n) of src, a tensor of an open file, to the
// same place in this one. Like CopyAt it lets the kernel copy where it can.
func (t *TensorWriter) CopyTensor(src Tensor, off, n int64) (int64, error) {
	if size := int64(src.info.Bytes()); off < 0 || n < 0 || n > size-off {
		return 0, fmt.Errorf("safetensors: tensor %s: it has no %d bytes at %d", diag.Name(src.info.Name), n, off)
	}
	release, err := src.f.acquire()
	if err != nil {
		return 0, err
	}
	defer release()
	done, err := t.CopyAt(src.f.src, src.offset()+off, n, off)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w (tensor %s)", src.f.endsAt(src.offset()+off+done), diag.Name(t.name))
	}
	return done, err
}

// wrote adds [begin, end) to the spans.
func (t *TensorWriter) wrote(begin, end int64) {
	if begin == end {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i, _ := slices.BinarySearchFunc(t.spans, begin, func(s span, at int64) int { return cmp.Compare(s.end, at) })
	j := i // the spans i to j-1 touch the new one
	for ; j < len(t.spans) && t.spans[j].begin <= end; j++ {
		t.written -= t.spans[j].end - t.spans[j].begin
		begin, end = min(begin, t.spans[j].begin), max(end, t.spans[j].end)
	}
	t.written += end - begin
	t.spans = slices.Replace(t.spans, i, j, span{begin, end})
}

// copyBlock is the size of blocks in which data is copied.
const copyBlock = 1 << 20

// ReadFrom appends all of r, as io.Copy calls it.
func (t *TensorWriter) ReadFrom(r io.Reader) (n int64, err error) {
	return t.readFrom(context.Background(), r)
}

func (t *TensorWriter) readFrom(ctx context.Context, r io.Reader) (n int64, err error) {
	buf := make([]byte, min(t.size-t.next+1, copyBlock)) // one more byte shows that r is too long
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		k, err := io.ReadFull(r, buf)
		if k > 0 {
			m, err := t.Write(buf[:k])
			n += int64(m)
			if err != nil {
				return n, err
			}
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return n, nil
		default:
			return n, fmt.Errorf("safetensors: tensor %s: %w", diag.Name(t.name), err)
		}
	}
}
