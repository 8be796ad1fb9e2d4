package torchzip

import (
	"bytes"
	"fmt"
	"math"
)

// locate returns where a member's bytes are, which only its local header says,
// and holds that header against the directory.
func (a *Archive) locate(e *Entry) (Span, error) {
	head := make([]byte, localLen+len(e.Name))
	if err := readAt(a.r, head, e.HeaderOffset); err != nil {
		return Span{}, err
	}
	nameLen, extraLen := int64(le.Uint16(head[26:])), int64(le.Uint16(head[28:]))
	span := Span{e.HeaderOffset + localLen + nameLen + extraLen, e.Size}
	differ := func(what string) error {
		return malformed(e.HeaderOffset, e.Name, "member %s: its header at byte %d and the directory differ in the %s", entryName(e.Name), e.HeaderOffset, what)
	}
	method := le.Uint16(head[8:])
	flags := le.Uint16(head[6:])
	switch {
	case string(head[:4]) != signatureLocal:
		return Span{}, malformed(e.HeaderOffset, e.Name, "member %s: no header at byte %d, where the directory says", entryName(e.Name), e.HeaderOffset)
	case nameLen != int64(len(e.Name)) || !bytes.Equal(head[localLen:], []byte(e.Name)):
		return Span{}, differ("name")
	case (method != 0) != e.Compressed:
		return Span{}, differ("compression")
	case flags&(flagEncrypted|flagDescriptor) != e.flags&(flagEncrypted|flagDescriptor):
		return Span{}, differ("flags")
	case span.Size > e.next-span.Offset:
		return Span{}, malformed(e.HeaderOffset, e.Name, "member %s of %d bytes at byte %d overlaps what begins at byte %d", entryName(e.Name), e.Size, span.Offset, e.next)
	}
	crc, size, uncompressed := le.Uint32(head[14:]), uint64(le.Uint32(head[18:])), uint64(le.Uint32(head[22:]))
	if max(size, uncompressed) == math.MaxUint32 {
		extra := make([]byte, extraLen)
		if err := readAt(a.r, extra, span.Offset-extraLen); err != nil {
			return Span{}, err
		}
		if !fromZip64(extra, &uncompressed, &size) {
			return Span{}, differ("sizes")
		}
	}
	// With a descriptor after the data, the header may leave these at 0.
	late := flags&flagDescriptor != 0
	if size != uint64(e.Size) && !(late && size == 0) || uncompressed != uint64(e.Uncompressed) && !(late && uncompressed == 0) {
		return Span{}, differ("sizes")
	}
	if crc != e.CRC && !(late && crc == 0) {
		return Span{}, differ("checksum")
	}
	return span, nil
}

// Data returns where the bytes of an uncompressed member are.
func (a *Archive) Data(e *Entry) (Span, error) {
	if err := e.stored(); err != nil {
		return Span{}, err
	}
	return a.locate(e)
}

// stored returns an error if the member is compressed.
func (e *Entry) stored() error {
	if !e.Compressed {
		return nil
	}
	return &Error{Entry: e.Name, Offset: e.HeaderOffset, Err: ErrCompressed,
		Message: fmt.Sprintf("member %s is compressed (%d bytes that expand to %d); torch stores members uncompressed", entryName(e.Name), e.Size, e.Uncompressed)}
}
