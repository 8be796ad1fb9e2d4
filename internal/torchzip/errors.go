package torchzip

import (
	"errors"
	"fmt"
	"io"
)

// What can be wrong, for errors.Is on the errors of this package. Those about
// the pickle are package pickle's.
var (
	// ErrEmpty: the input has no bytes.
	ErrEmpty = errors.New("empty file")
	// ErrNotTorch: neither a zip archive nor the legacy format, or an archive
	// without a data.pkl.
	ErrNotTorch = errors.New("not a torch file")
	// ErrTruncated: the end is missing.
	ErrTruncated = errors.New("truncated torch file")
	// ErrFormat: the container contradicts itself.
	ErrFormat = errors.New("malformed torch file")
	// ErrCompressed: a member that torch stores as it is was compressed.
	ErrCompressed = errors.New("compressed torch file")
	// ErrStorage: a storage that the pickle names is missing or too short.
	ErrStorage = errors.New("storage missing from torch file")
	// ErrChecksum: the bytes of a member are not those that were saved.
	ErrChecksum = errors.New("damaged torch file")
	// ErrLimit: reading on would take more memory than allowed.
	ErrLimit = errors.New("torch file too large")
)

// An Error says what is wrong with a container and where.
type Error struct {
	Entry   string // the member's name in the archive, "" if the archive is at fault
	Offset  int64  // in the input
	Missing int64  // bytes that are missing at least, 0 if none or not known
	Message string // one sentence, which names the member
	Err     error  // one of the errors above
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Err }

func malformed(offset int64, entry, format string, args ...any) error {
	return &Error{Entry: entry, Offset: offset, Message: fmt.Sprintf(format, args...), Err: ErrFormat}
}

// readAt fills p. A source that ends early is an error of its own: the file was
// cut after its size was taken.
func readAt(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF:
		return &Error{Offset: off + int64(n), Missing: int64(len(p) - n), Err: ErrTruncated,
			Message: fmt.Sprintf("the file ends at byte %d, before its size says; it was cut while it was read", off+int64(n))}
	}
	return err
}
