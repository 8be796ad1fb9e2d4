package torchzip

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
)

// Checked is what Check found.
type Checked struct {
	// Damaged holds an error for each member whose bytes do not have the checksum
	// that the directory gives.
	Damaged []*Error
	// Unchecked names the members that cannot be checked: their writer left the
	// checksum out (torch.serialization.set_crc32_options(False)), or they are
	// compressed.
	Unchecked []string
}

// Check reads all of a zip archive and compares checksums, which torch.load does
// not do; it also holds every local header and data descriptor against the
// directory. Progress, if not nil, is called with the number of bytes of each
// block that was read, from the calling goroutine. The legacy format has no
// checksums: nothing is done.
func (a *Archive) Check(ctx context.Context, progress func(n int64)) (*Checked, error) {
	result := new(Checked)
	buf := make([]byte, min(a.size, 1<<20))
	for i := range a.Entries {
		e := &a.Entries[i]
		span, err := a.locate(e)
		if err != nil {
			return nil, err
		}
		if err := a.checkDescriptor(e, span); err != nil {
			return nil, err
		}
		if e.Compressed || (e.CRC == 0 && e.Size > 0) {
			result.Unchecked = append(result.Unchecked, e.Name)
			continue
		}
		err = a.checkMember(ctx, e, span, progress, buf)
		var damage *Error
		switch {
		case errors.Is(err, ErrChecksum) && errors.As(err, &damage):
			result.Damaged = append(result.Damaged, damage)
		case err != nil:
			return nil, err
		}
	}
	return result, nil
}

// checkMember compares the checksum of an uncompressed member, if it has one.
func (a *Archive) checkMember(ctx context.Context, e *Entry, span Span, progress func(int64), buf []byte) error {
	if e.CRC == 0 {
		return nil
	}
	var sum uint32
	for done := int64(0); done < span.Size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buf[:min(int64(len(buf)), span.Size-done)]
		if err := readAt(a.r, p, span.Offset+done); err != nil {
			return err
		}
		sum = crc32.Update(sum, crc32.IEEETable, p)
		done += int64(len(p))
		if progress != nil {
			progress(int64(len(p)))
		}
	}
	if sum != e.CRC {
		return &Error{Entry: e.Name, Offset: span.Offset, Err: ErrChecksum,
			Message: fmt.Sprintf("member %s is damaged: its %d bytes have the CRC-32 %08x, not %08x as when they were saved", entryName(e.Name), span.Size, sum, e.CRC)}
	}
	return nil
}

// checkDescriptor holds the record that may follow a member's data against the
// directory: checksum and sizes, which have 32 bits or, with ZIP64, 64.
func (a *Archive) checkDescriptor(e *Entry, span Span) error {
	if e.flags&flagDescriptor == 0 {
		return nil
	}
	at := span.Offset + span.Size
	p := make([]byte, min(24, e.next-at))
	if err := readAt(a.r, p, at); err != nil {
		return err
	}
	if len(p) >= 4 && string(p[:4]) == signatureDescriptor {
		p = p[4:]
	}
	same := len(p) >= 12 && le.Uint32(p) == e.CRC
	is32 := same && int64(le.Uint32(p[4:])) == e.Size && int64(le.Uint32(p[8:])) == e.Uncompressed
	is64 := same && len(p) >= 20 && le.Uint64(p[4:]) == uint64(e.Size) && le.Uint64(p[12:]) == uint64(e.Uncompressed)
	if !is32 && !is64 {
		return malformed(at, e.Name, "member %s: the descriptor after its data and the directory differ", entryName(e.Name))
	}
	return nil
}
