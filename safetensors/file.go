package safetensors

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"sync"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/directio"
	"github.com/safeckpt/safeckpt/internal/mmapfile"
	"github.com/safeckpt/safeckpt/internal/regular"
)

// A File is an open safetensors file whose header has been read and accepted.
// Tensor data is read or mapped only when it is asked for.
//
// A File is safe for concurrent use. Close waits for reads and Guards in flight;
// everything after it returns ErrClosed. Only slices handed out by Tensor.Bytes
// and View must not be used after Close: their memory is gone then.
type File struct {
	name   string
	size   int64
	header *Header
	report *diag.Report
	src    io.ReaderAt
	closer io.Closer // nil if the caller owns the source
	file   *os.File  // to map; nil if it must not or cannot be mapped

	use     sync.WaitGroup // what Close waits for
	mu      sync.Mutex     // guards what follows
	closed  bool
	mapping *mmapfile.Mapping
}

// Open opens the file of that name, reads its header and checks that the header
// describes the file exactly, by the rules of the reference implementation
// (Rust crate safetensors 0.8.0). The file is mapped when the first tensor is
// viewed, not before.
//
// A file that is refused gives a *FormatError with all its problems, whatever
// kind of file it turns out to be; one that cannot be read gives the error of
// the operating system.
func Open(name string, opts *OpenOptions) (*File, error) {
	// Look before opening: opening a named pipe would wait for a writer.
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if err := regular.Check(name, info); err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return openFile(f, name, opts)
}

// OpenFS is Open for a file of fsys. Files that are *os.File, as those of
// os.DirFS are, can be mapped; others must implement io.ReaderAt or io.Seeker.
func OpenFS(fsys fs.FS, name string, opts *OpenOptions) (*File, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if err := regular.Check(name, info); err != nil {
		return nil, err
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	return openFile(f, name, opts)
}

// NewFile reads the header of a file of size bytes that r gives access to, such
// as an object store or an archive member. It makes at most three reads: a
// guessed head and, for a header beyond that, its end and the whole. r must stay
// usable until the File is closed; Close does not close it. The file has no
// name and cannot be mapped.
func NewFile(r io.ReaderAt, size int64, opts *OpenOptions) (*File, error) {
	return newFile(r, "", size, opts)
}

// openFile takes over f.
func openFile(f fs.File, name string, opts *OpenOptions) (*File, error) {
	opts = opts.orDefault()
	toMap, _ := f.(*os.File)
	if opts.NoMap {
		toMap = nil
	}
	if opts.ReadOnce {
		f = directio.ReadOnce(f)
	}
	file, err := func() (*File, error) {
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		r, err := readerAt(f)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return newFile(r, name, info.Size(), opts)
	}()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	file.closer, file.file = f, toMap
	return file, nil
}

func newFile(r io.ReaderAt, name string, size int64, opts *OpenOptions) (*File, error) {
	h, report, err := readHeader(r, name, size, opts.orDefault().Limits)
	if err != nil {
		return nil, err
	}
	if report.Count(diag.Error) > 0 {
		return nil, &FormatError{Report: report, Header: h, Size: size}
	}
	return &File{name: name, size: size, header: h, report: report, src: r}, nil
}

// readerAt returns f as an io.ReaderAt.
func readerAt(f fs.File) (io.ReaderAt, error) {
	switch f := f.(type) {
	case io.ReaderAt:
		return f, nil
	case io.ReadSeeker:
		return &seekReaderAt{r: f}, nil
	}
	return nil, errors.New("safetensors: the file implements neither io.ReaderAt nor io.Seeker")
}

// A seekReaderAt lets concurrent readers share one file position.
type seekReaderAt struct {
	mu sync.Mutex
	r  io.ReadSeeker
}

func (s *seekReaderAt) ReadAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.r.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(s.r, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// Name returns the name that the file was opened by, "" for NewFile.
func (f *File) Name() string { return f.name }

// Size returns the size of the file in bytes when it was opened.
func (f *File) Size() int64 { return f.size }

// Header returns the decoded header. It stays usable after Close.
func (f *File) Header() *Header { return f.header }

// Report returns what the accepted file was warned of. It must not be added to.
func (f *File) Report() *diag.Report { return f.report }

// Tensor returns the tensor of that name, or an error that matches ErrNoTensor.
func (f *File) Tensor(name string) (Tensor, error) {
	info, ok := f.header.Lookup(name)
	if !ok {
		return Tensor{}, fmt.Errorf("%w: %s", ErrNoTensor, diag.Name(name))
	}
	return Tensor{f, info}, nil
}

// All iterates over the tensors in the order of their data.
func (f *File) All() iter.Seq2[string, Tensor] {
	return func(yield func(string, Tensor) bool) {
		for i := range f.header.Tensors {
			info := &f.header.Tensors[i]
			if !yield(info.Name, Tensor{f, info}) {
				return
			}
		}
	}
}

// Close waits for reads and Guards in flight, then unmaps and closes the file.
// Calling it from within Guard never returns. Closing twice is no error.
func (f *File) Close() error {
	f.mu.Lock()
	first := !f.closed
	f.closed = true
	f.mu.Unlock()
	f.use.Wait()
	if !first {
		return nil
	}
	var errs []error
	if f.mapping != nil {
		errs = append(errs, f.mapping.Close())
	}
	if f.closer != nil {
		errs = append(errs, f.closer.Close())
	}
	return errors.Join(errs...)
}

// acquire holds off Close until the returned function is called.
func (f *File) acquire() (release func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	f.use.Add(1)
	return f.use.Done, nil
}

// bytes returns the whole mapped file, mapping it first if need be.
func (f *File) bytes() ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil, ErrClosed
	case f.file == nil:
		return nil, ErrNotMapped
	case f.mapping == nil:
		m, err := mmapfile.Map(f.file, f.size)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotMapped, err)
		}
		f.mapping = m
	}
	return f.mapping.Bytes(), nil
}

// endsAt is the error of a file that was cut while it was open: at n or before.
func (f *File) endsAt(n int64) error {
	return fmt.Errorf("safetensors: %s has no byte %d any more, had %d bytes when it was opened; something cut it: %w", diag.Name(f.name), n, f.size, io.ErrUnexpectedEOF)
}

// readAt reads from the file, whether it is mapped or not. Unlike its source it
// never takes an early end for the end of the file.
func (f *File) readAt(p []byte, off int64) (int, error) {
	release, err := f.acquire()
	if err != nil {
		return 0, err
	}
	defer release()
	n, err := f.src.ReadAt(p, off)
	switch {
	case n == len(p):
		return n, nil
	case errors.Is(err, io.EOF) && off+int64(n) < f.size:
		err = f.endsAt(off + int64(n))
	case err == nil: // against the rules of io.ReaderAt; callers would try for ever
		err = io.ErrNoProgress
	}
	return n, err
}
