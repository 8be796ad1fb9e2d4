package directio

import (
	"errors"
	"io/fs"
	"os"
)

// Place is where the data of a file lies.
type Place int

// Places; direct reads and writes are for disks.
const (
	Unknown Place = iota
	Memory
	Remote // on a server, which can copy files by itself
	Disk
)

// A Reader reads a large file once. What the page cache has comes from there; the
// rest is read past it, and leaves in it what others use.
type Reader struct {
	*os.File
	direct *os.File
}

// ReadOnce returns a *Reader of f, or f where that can only be read through the page
// cache. Closing it closes f.
func ReadOnce(f fs.File) fs.File {
	file, ok := f.(*os.File)
	if !ok || PlaceOf(file) != Disk {
		return f
	}
	direct, err := Reopen(file, os.O_RDONLY)
	if err != nil {
		return f
	}
	return &Reader{file, direct}
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

// readDirect reads the pages in which p lies, which is no longer than Unit.
func (r *Reader) readDirect(p []byte, off int64) (int, error) {
	b := Get()
	defer Put(b)
	skip := int(off % Page)
	end := (skip + len(p) + Page - 1) &^ (Page - 1)
	n, _ := r.direct.ReadAt(b.Mem[:end], off-int64(skip))
	n = copy(p, b.Mem[min(skip, n):n])
	if n == len(p) {
		return n, nil
	}
	// The file ends, or it cannot be read so after all.
	k, err := r.File.ReadAt(p[n:], off+int64(n))
	return n + k, err
}

// Close closes the file.
func (r *Reader) Close() error { return errors.Join(r.direct.Close(), r.File.Close()) }
