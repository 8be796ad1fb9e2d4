package torchzip

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// Format is the container.
type Format uint8

// The two containers.
const (
	Zip Format = iota
	Legacy
)

// A Span is a range of bytes in the input.
type Span struct{ Offset, Size int64 }

// An Entry is a member of a zip archive, as the central directory has it.
type Entry struct {
	Name         string
	HeaderOffset int64
	Size         int64  // bytes in the archive
	Uncompressed int64  // differs from Size if Compressed
	CRC          uint32 // CRC-32 (IEEE); 0 if the writer left it out
	Compressed   bool

	flags uint16
	next  int64 // where the following header, or the directory, begins
}

// An Archive is a torch file whose directory has been read. It holds no data and
// does not own its source; any number of goroutines may use it.
type Archive struct {
	Format Format
	// Prefix is the directory inside the archive that the members lie in, with a
	// slash: usually the file's name when it was saved.
	Prefix string
	// Entries lists the members in the order of their offsets; nil if Legacy.
	Entries []Entry

	r      io.ReaderAt
	size   int64
	byName map[string]int32
}

// Open reads the directory of the torch file in the first size bytes of r. The
// errors are those of r and *Error.
func Open(ctx context.Context, r io.ReaderAt, size int64) (*Archive, error) {
	if size == 0 {
		return nil, &Error{Message: "the file is empty (0 bytes)", Err: ErrEmpty}
	}
	a := &Archive{r: r, size: size}
	end, err := a.findEnd()
	if err != nil {
		return nil, err
	}
	if end == nil {
		if err := a.openOther(ctx); err != nil {
			return nil, err
		}
		return a, nil
	}
	if err := a.readDirectory(ctx, end); err != nil {
		return nil, err
	}
	// As torch does: the prefix is the first member's directory.
	if dir, _, ok := strings.Cut(end.firstName, "/"); ok {
		a.Prefix = dir + "/"
	}
	return a, nil
}

// openOther handles a file that does not end as a zip archive does.
func (a *Archive) openOther(ctx context.Context) error {
	head := make([]byte, min(4, a.size))
	if err := readAt(a.r, head, 0); err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(signatureLocal, string(head)):
		return a.truncated(ctx)
	case head[0] == pickleProto:
		a.Format = Legacy
		_, err := a.legacyMagic(ctx)
		return err
	}
	return &Error{Message: fmt.Sprintf("neither a zip archive nor a pickle: the file begins with %q", head), Err: ErrNotTorch}
}

// Lookup returns the member of that name, prefix included.
func (a *Archive) Lookup(name string) (*Entry, bool) {
	i, ok := a.byName[name]
	if !ok {
		return nil, false
	}
	return &a.Entries[i], true
}

// entryName returns a member's name for messages.
func entryName(name string) string { return diag.Name(name) }

// budget returns how much memory may go into one part of the work on the input.
func (a *Archive) budget(least int64) int64 {
	const most = 1 << 30
	return max(least, min(a.size/64, most))
}
