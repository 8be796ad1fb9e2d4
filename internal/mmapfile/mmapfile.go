// Package mmapfile maps files read-only through golang.org/x/exp/mmap and hands
// out the mapped bytes, which that package keeps to itself.
//
// A Mapping lives until Close: no finalizer unmaps it, so a slice of it cannot
// dangle because the garbage collector ran. Bytes that are touched after the
// file was cut raise a fault, see the caller's Guard.
package mmapfile

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"

	"golang.org/x/exp/mmap"
)

// ErrUnsupported means that files cannot be mapped here: the system is none of
// those that x/exp/mmap maps, the file is too long for the address space, or
// x/exp/mmap has changed its insides. Reads must be used instead.
var ErrUnsupported = errors.New("mmapfile: cannot map")

// ErrChanged means that the path leads to another file now, or that the file
// has another length than it had when it was opened.
var ErrChanged = errors.New("mmapfile: file has changed")

// A Mapping is a read-only mapping of a whole file.
type Mapping struct {
	r    *mmap.ReaderAt
	data []byte
}

// Map maps the size bytes of f. It maps the file that f has open, not whatever
// its name leads to by now. f may be closed afterwards.
func Map(f *os.File, size int64) (*Mapping, error) {
	if size <= 0 || size != int64(int(size)) {
		return nil, fmt.Errorf("%w: %d bytes", ErrUnsupported, size)
	}
	r, err := open(f)
	if err != nil {
		return nil, err
	}
	if int64(r.Len()) != size {
		err := fmt.Errorf("%w: %d bytes, had %d", ErrChanged, r.Len(), size)
		return nil, errors.Join(err, r.Close())
	}
	data, ok := mapped(r)
	if !ok {
		return nil, errors.Join(ErrUnsupported, r.Close())
	}
	runtime.SetFinalizer(r, nil) // x/exp/mmap's would unmap under our slices
	return &Mapping{r: r, data: data}, nil
}

// Bytes returns the mapped file. Writing to it is a fault.
func (m *Mapping) Bytes() []byte { return m.data }

// Close unmaps the file. Touching its bytes afterwards is a fault, or worse.
func (m *Mapping) Close() error {
	m.data = nil
	return m.r.Close()
}

// mapped returns the slice that r wraps. It has no method for that, on purpose
// (golang/go#20642), so look for its one field of type []byte and hold it against
// what the methods say. A test fails when the field moves.
func mapped(r *mmap.ReaderAt) ([]byte, bool) {
	v := reflect.ValueOf(r).Elem()
	if v.Kind() != reflect.Struct {
		return nil, false
	}
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Uint8 {
			data := f.Bytes()
			return data, len(data) > 0 && len(data) == r.Len() && sameEnds(r, data)
		}
	}
	return nil, false
}

// sameEnds compares the first and last byte. The file may have been cut by now:
// touching its last page is a fault then.
func sameEnds(r *mmap.ReaderAt, data []byte) (same bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			same = false
		}
	}()
	last := len(data) - 1
	return data[0] == r.At(0) && data[last] == r.At(last)
}

// openPath maps what path leads to, and makes sure that it is the file f.
func openPath(f *os.File, path string) (*mmap.ReaderAt, error) {
	r, err := mmap.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	was, err := f.Stat()
	if err == nil {
		var is os.FileInfo
		if is, err = os.Stat(path); err == nil && !os.SameFile(was, is) {
			err = fmt.Errorf("%w: %s was replaced", ErrChanged, path)
		}
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}
