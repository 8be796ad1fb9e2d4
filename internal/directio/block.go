// Package directio reads and writes large files past the page cache.
//
// Through it a file of gigabytes crowds out what others keep there, and the kernel
// spends more time on its pages than on copying: for 1 GiB on ext4 it takes a
// quarter to a half of the processor time without, less still from memory that lies
// in huge pages, which the disk takes in few pieces.
package directio

import (
	"sync"
	"unsafe"
)

const (
	Page = 4096      // what direct reads and writes are in multiples of; no device has larger sectors
	Unit = 1 << 20   // how much to read or write at once: what a processor's cache holds
	Min  = 128 << 10 // less goes through the page cache
)

// blockSize is that of a huge page.
const blockSize = 2 << 20

// A Block is memory for direct reads and writes: more than Unit and two pages,
// from the start of a page on.
type Block struct{ Mem []byte }

var blocks = sync.Pool{New: func() any { return newBlock() }}

// Get returns a block, whose content may be anything.
func Get() *Block { return blocks.Get().(*Block) }

// Put takes it back; nothing of it may be used any more.
func Put(b *Block) { blocks.Put(b) }

// onHeap is a block where there is no better memory.
func onHeap() *Block {
	m := make([]byte, blockSize+Page)
	return &Block{m[toAligned(m, Page):][:blockSize]}
}

// OnPage reports whether p starts where a page does, as direct writes want it.
func OnPage(p []byte) bool { return toAligned(p, Page) == 0 }

// toAligned returns how many bytes of p come before an address that is a multiple
// of size, a power of two.
func toAligned(p []byte, size uintptr) uintptr {
	return -uintptr(unsafe.Pointer(unsafe.SliceData(p))) & (size - 1)
}
