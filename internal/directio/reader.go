package directio

import (
	"errors"
	"io/fs"
	"os"
	"sync"
)

// A Reader reads a large file once. What the page cache has comes from there; the
// rest is read past it, and leaves in it what others use.
type Reader struct {
	*os.File
	opening sync.Once
	direct  *os.File // nil if that cannot be
}

// ReadOnce returns a *Reader of f if that is on a disk, and else f. Closing it closes
// f.
func ReadOnce(f fs.File) fs.File {
	if file, ok := f.(*os.File); ok && PlaceOf(file) == Disk {
		return &Reader{File: file}
	}
	return f
}

// ReadAt reads as that of an *os.File does. It is safe for concurrent use.
func (r *Reader) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		part := p[n:min(n+Unit, len(p))]
		if len(part) < Min || cached(r.File, off+int64(n), int64(len(part))) {
			k, err = r.File.ReadAt(part, off+int64(n))
		} else {
			k, err = r.readDirect(part, off+int64(n))
		}
		n += k
	}
	return n, err
}

// readDirect reads the pages in which p lies, which is no longer than Unit. What
// cannot be read so, as behind the end of the file, is read through the page cache.
func (r *Reader) readDirect(p []byte, off int64) (n int, err error) {
	// Not before it is needed: of a file that is cached it never is.
	r.opening.Do(func() { r.direct, _ = Reopen(r.File, os.O_RDONLY) })
	if r.direct != nil {
		b := Get()
		defer Put(b)
		skip := int(off % Page)
		end := (skip + len(p) + Page - 1) &^ (Page - 1)
		k, _ := r.direct.ReadAt(b.Mem[:end], off-int64(skip))
		n = copy(p, b.Mem[min(skip, k):k])
	}
	if n < len(p) {
		var k int
		k, err = r.File.ReadAt(p[n:], off+int64(n))
		n += k
	}
	return n, err
}

// Close closes the file.
func (r *Reader) Close() error {
	r.opening.Do(func() {}) // not from now on
	if r.direct == nil {
		return r.File.Close()
	}
	return errors.Join(r.direct.Close(), r.File.Close())
}
