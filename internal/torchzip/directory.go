package torchzip

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
)

const (
	signatureLocal      = "PK\x03\x04"
	signatureDirectory  = "PK\x01\x02"
	signatureEnd        = "PK\x05\x06"
	signatureEnd64      = "PK\x06\x06"
	signatureLocator64  = "PK\x06\x07"
	signatureDescriptor = "PK\x07\x08"

	localLen     = 30
	directoryLen = 46
	endLen       = 22
	end64Len     = 56
	locator64Len = 20
	maxComment   = math.MaxUint16

	flagEncrypted  = 1<<0 | 1<<6 | 1<<13
	flagDescriptor = 1 << 3

	zip64Extra = 1
)

var le = binary.LittleEndian

// directoryEnd is the end record: where the central directory lies.
type directoryEnd struct {
	count, size, offset int64
	firstName           string // of the first entry, set by readDirectory
}

// findEnd returns nil if there is no end record.
func (a *Archive) findEnd() (*directoryEnd, error) {
	for _, n := range []int64{endLen + locator64Len + end64Len, endLen + maxComment} { // torch writes no comment
		tail := make([]byte, min(n, a.size))
		at := a.size - int64(len(tail))
		if err := readAt(a.r, tail, at); err != nil {
			return nil, err
		}
		for i := len(tail) - endLen; i >= 0; i-- {
			if string(tail[i:i+4]) != signatureEnd {
				continue
			}
			rec, after := tail[i:i+endLen], len(tail)-i-endLen
			if int(le.Uint16(rec[20:])) == after {
				return a.readEnd(rec, at+int64(i))
			}
			// Not by chance: the directory would lie before the record.
			if dir := int64(le.Uint32(rec[12:])) + int64(le.Uint32(rec[16:])); dir > 0 && dir <= at+int64(i) && dir+end64Len+locator64Len >= at+int64(i) {
				return nil, malformed(at+int64(i)+endLen, "", "%d bytes after the end of the archive", after)
			}
		}
		if int64(len(tail)) == a.size {
			break
		}
	}
	return nil, nil
}

func (a *Archive) readEnd(rec []byte, at int64) (*directoryEnd, error) {
	disk, dirDisk, diskCount := le.Uint16(rec[4:]), le.Uint16(rec[6:]), le.Uint16(rec[8:])
	count, size, offset := le.Uint16(rec[10:]), le.Uint32(rec[12:]), le.Uint32(rec[16:])
	if (disk != 0 || dirDisk != 0 || diskCount != count) && disk != math.MaxUint16 {
		return nil, malformed(at, "", "the archive is one part of several")
	}
	end := &directoryEnd{count: int64(count), size: int64(size), offset: int64(offset)}
	limit := at // where the directory must end
	if at >= locator64Len {
		loc := make([]byte, locator64Len)
		if err := readAt(a.r, loc, at-locator64Len); err != nil {
			return nil, err
		}
		if string(loc[:4]) == signatureLocator64 {
			big, start, err := a.readEnd64(loc, at-locator64Len)
			if err != nil {
				return nil, err
			}
			if (count != math.MaxUint16 && end.count != big.count) || (size != math.MaxUint32 && end.size != big.size) ||
				(offset != math.MaxUint32 && end.offset != big.offset) {
				return nil, malformed(at, "", "the two end records disagree: %d entries in %d bytes at %d, or %d in %d at %d",
					big.count, big.size, big.offset, end.count, end.size, end.offset)
			}
			end, limit = big, start
		}
	}
	if end.offset > limit || end.size != limit-end.offset {
		return nil, malformed(at, "", "the end record says that the directory is %d bytes at %d, but it should end at byte %d", end.size, end.offset, limit)
	}
	if end.count > end.size/directoryLen {
		return nil, malformed(at, "", "the end record says %d entries, more than fit in a directory of %d bytes", end.count, end.size)
	}
	return end, nil
}

// readEnd64 follows the locator at the offset to the ZIP64 end record.
func (a *Archive) readEnd64(loc []byte, at int64) (*directoryEnd, int64, error) {
	start := le.Uint64(loc[8:])
	if at < end64Len || start > uint64(at-end64Len) {
		return nil, 0, malformed(at, "", "the ZIP64 end record at byte %d is not before its locator", start)
	}
	rec := make([]byte, end64Len)
	if err := readAt(a.r, rec, int64(start)); err != nil {
		return nil, 0, err
	}
	if string(rec[:4]) != signatureEnd64 || le.Uint64(rec[4:]) != uint64(at)-start-12 {
		return nil, 0, malformed(int64(start), "", "no ZIP64 end record of %d bytes where its locator says", uint64(at)-start)
	}
	count, size, offset := le.Uint64(rec[32:]), le.Uint64(rec[40:]), le.Uint64(rec[48:])
	if le.Uint32(rec[16:]) != 0 || le.Uint32(rec[20:]) != 0 || le.Uint64(rec[24:]) != count {
		return nil, 0, malformed(int64(start), "", "the archive is one part of several")
	}
	if max(count, size, offset) > math.MaxInt64 {
		return nil, 0, malformed(int64(start), "", "the ZIP64 end record says %d entries in %d bytes at %d", count, size, offset)
	}
	return &directoryEnd{count: int64(count), size: int64(size), offset: int64(offset)}, int64(start), nil
}

// entryCost is what an entry takes in memory, but for its name: in the slice and
// in the index.
const entryCost = 2 * 64

// readDirectory reads the entries and checks that they do not overlap.
func (a *Archive) readDirectory(ctx context.Context, end *directoryEnd) error {
	budget := a.budget(12<<20) - end.count*entryCost
	tooMany := func() error {
		return &Error{Offset: end.offset, Message: fmt.Sprintf("a directory of %d entries needs more memory than allowed", end.count), Err: ErrLimit}
	}
	if budget < 0 {
		return tooMany()
	}
	a.Entries = make([]Entry, 0, end.count)
	in := &directoryReader{a: a, in: bufio.NewReaderSize(io.NewSectionReader(a.r, end.offset, end.size), int(min(end.size, 32<<10)))}
	left := end.size
	for i := range end.count {
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		e, n, err := in.entry(end.offset+end.size-left, left)
		if err != nil {
			return err
		}
		left -= n
		if budget -= int64(len(e.Name)); budget < 0 {
			return tooMany()
		}
		if i == 0 {
			end.firstName = e.Name
		}
		a.Entries = append(a.Entries, e)
	}
	if left != 0 {
		return malformed(end.offset+end.size-left, "", "%d bytes after the last entry of the directory", left)
	}
	return a.order(end.offset)
}

// order sorts the entries by offset and holds them against each other.
func (a *Archive) order(directory int64) error {
	a.byName = make(map[string]int32, len(a.Entries))
	slices.SortFunc(a.Entries, func(x, y Entry) int { return cmp.Compare(x.HeaderOffset, y.HeaderOffset) })
	for i := range a.Entries {
		e := &a.Entries[i]
		if _, dup := a.byName[e.Name]; dup {
			return malformed(e.HeaderOffset, e.Name, "two members of the archive are called %s", entryName(e.Name))
		}
		a.byName[e.Name] = int32(i)
		e.next = directory
		if i+1 < len(a.Entries) {
			e.next = a.Entries[i+1].HeaderOffset
		}
		// The name is as long in the local header, which locate checks.
		room := e.next - e.HeaderOffset - localLen - int64(len(e.Name))
		switch {
		case i == 0 && e.HeaderOffset != 0:
			return malformed(0, "", "%d bytes before the first member of the archive", e.HeaderOffset)
		case room < e.Size && e.next == directory:
			return malformed(e.HeaderOffset, e.Name, "member %s of %d bytes at byte %d reaches past the end of the members at byte %d", entryName(e.Name), e.Size, e.HeaderOffset, directory)
		case room < e.Size:
			return malformed(e.HeaderOffset, e.Name, "member %s of %d bytes at byte %d overlaps the next, %s at byte %d", entryName(e.Name), e.Size, e.HeaderOffset, entryName(a.Entries[i+1].Name), e.next)
		}
	}
	return nil
}

// directoryReader reads the entries of a directory one after another.
type directoryReader struct {
	a    *Archive
	in   *bufio.Reader
	head [directoryLen]byte
	rest []byte // name, extra field and comment of an entry
}

// entry reads the entry at the offset; left is how long the rest of the directory
// is. It returns the entry's length too.
func (d *directoryReader) entry(at, left int64) (e Entry, length int64, err error) {
	if left < directoryLen {
		return e, 0, malformed(at, "", "the directory ends inside an entry")
	}
	if err := d.read(d.head[:], at); err != nil {
		return e, 0, err
	}
	head := d.head[:]
	if string(head[:4]) != signatureDirectory {
		return e, 0, malformed(at, "", "no directory entry at byte %d", at)
	}
	nameLen, extraLen, commentLen := int(le.Uint16(head[28:])), int(le.Uint16(head[30:])), int(le.Uint16(head[32:]))
	length = int64(directoryLen + nameLen + extraLen + commentLen)
	if length > left {
		return e, 0, malformed(at, "", "the directory ends inside an entry")
	}
	d.rest = slices.Grow(d.rest[:0], nameLen+extraLen+commentLen)[:nameLen+extraLen+commentLen]
	if err := d.read(d.rest, at+directoryLen); err != nil {
		return e, 0, err
	}
	e = Entry{Name: string(d.rest[:nameLen]), CRC: le.Uint32(head[16:]), flags: le.Uint16(head[8:])}
	if e.Name == "" {
		return e, 0, malformed(at, "", "a member of the archive has no name")
	}
	size, uncompressed, offset := uint64(le.Uint32(head[20:])), uint64(le.Uint32(head[24:])), uint64(le.Uint32(head[42:]))
	if !fromZip64(d.rest[nameLen:nameLen+extraLen], &uncompressed, &size, &offset) {
		return e, 0, malformed(at, e.Name, "member %s has no ZIP64 sizes", entryName(e.Name))
	}
	if max(size, uncompressed, offset) > math.MaxInt64 || offset > uint64(d.a.size) || size > uint64(d.a.size) {
		return e, 0, malformed(at, e.Name, "member %s of %d bytes at byte %d does not fit in a file of %d bytes", entryName(e.Name), size, offset, d.a.size)
	}
	e.Size, e.Uncompressed, e.HeaderOffset = int64(size), int64(uncompressed), int64(offset)
	return e, length, e.check(le.Uint16(head[10:]), at)
}

func (d *directoryReader) read(p []byte, at int64) error {
	n, err := io.ReadFull(d.in, p)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return readAt(d.a.r, p[n:], at+int64(n)) // says where the file ends
	}
	return err
}

// check judges the method and flags of an entry.
func (e *Entry) check(method uint16, at int64) error {
	switch method {
	case 0:
		if e.Size != e.Uncompressed {
			return malformed(at, e.Name, "member %s is stored, yet has the sizes %d and %d", entryName(e.Name), e.Size, e.Uncompressed)
		}
	case 8:
		e.Compressed = true
	default:
		return &Error{Entry: e.Name, Offset: at, Message: fmt.Sprintf("member %s is compressed with method %d; torch stores members uncompressed", entryName(e.Name), method), Err: ErrCompressed}
	}
	if e.flags&flagEncrypted != 0 {
		return malformed(at, e.Name, "member %s is encrypted", entryName(e.Name))
	}
	return nil
}

// fromZip64 replaces sizes that do not fit in 32 bits by those of the ZIP64 extra
// field, which holds only these, in this order. It reports whether it has them.
func fromZip64(extra []byte, sizes ...*uint64) bool {
	var field []byte
	for len(extra) >= 4 {
		id, n := le.Uint16(extra), int(le.Uint16(extra[2:]))
		if n > len(extra)-4 {
			break
		}
		if id == zip64Extra {
			field = extra[4 : 4+n]
			break
		}
		extra = extra[4+n:]
	}
	for _, size := range sizes {
		if *size != math.MaxUint32 {
			continue
		}
		if len(field) < 8 {
			return false
		}
		*size, field = le.Uint64(field), field[8:]
	}
	return true
}
