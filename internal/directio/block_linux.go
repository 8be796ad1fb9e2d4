package directio

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// newBlock maps a huge page, if the system gives one out for the asking. It is
// unmapped when the block is garbage.
func newBlock() *Block {
	m, err := unix.Mmap(-1, 0, 2*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return onHeap()
	}
	b := &Block{m[toAligned(m, blockSize):][:blockSize]}
	_ = unix.Madvise(b.Mem, unix.MADV_HUGEPAGE) // small pages do as well
	runtime.AddCleanup(b, func(m []byte) { _ = unix.Munmap(m) }, m)
	return b
}
