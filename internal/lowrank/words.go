package lowrank

import (
	"encoding/binary"
	"slices"
	"unsafe"
)

// A Buffer is memory for elements as they stand in a file, little-endian, that
// can be computed with: Native brings them into the machine's order of bytes, and
// back.
type Buffer []uint64

// Bytes returns the first n bytes, growing the buffer if need be.
func (b *Buffer) Bytes(n int) []byte {
	words := (n + 7) / 8
	if cap(*b) < words {
		*b = make(Buffer, words)
	}
	*b = (*b)[:cap(*b)]
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(*b))), 8*len(*b))[:n:n]
}

// Uint16s returns the same memory as elements of two bytes. data must be, or begin
// at an even offset in, what Bytes returned.
func Uint16s(data []byte) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(data))), len(data)/2)
}

// Float32s is Uint16s for elements and offsets of four bytes.
func Float32s(data []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(data))), len(data)/4)
}

var bigEndian = binary.NativeEndian.Uint16([]byte{0, 1}) == 1

// Native changes elements of so many bytes from the order of a file to the
// machine's, or the other way round. On little-endian machines it does nothing.
func Native(data []byte, size int) {
	for ; bigEndian && len(data) >= size; data = data[size:] {
		slices.Reverse(data[:size])
	}
}
