package atomicfile

import (
	"fmt"

	"github.com/safeckpt/safeckpt/internal/directio"
)

// Files of less than reserveSize are written through the page cache: they fit it,
// and what is written is often read next.
const reserveSize = 256 << 20

// Reserve says that the file will have size bytes, all of them written by WriteAt,
// CopyAt or what was appended before. Where it can, it takes the room on the disk
// at once, so that a full disk shows before the work, and lets large files be
// written past the page cache. It must come before the first WriteAt.
func (a *File) Reserve(size int64) error {
	if size < reserveSize {
		return nil
	}
	return a.reserve(size)
}

func (a *File) reserve(size int64) error {
	return a.step("reserve", a.temp, func() (err error) {
		if a.direct, err = reserve(a.f, size); err != nil {
			return fmt.Errorf("no room for %d bytes: %w", size, err)
		}
		return nil
	})
}

// writeDirect writes whole pages of the file past the page cache, and the bytes
// before and after them through it. The kernel keeps both coherent.
func (a *File) writeDirect(p []byte, off int64) (done int, err error) {
	head := min(int(-off&(directio.Page-1)), len(p))
	whole := (len(p) - head) &^ (directio.Page - 1)
	if whole < directio.Min {
		return a.writeCached(p, off)
	}
	if head > 0 {
		if done, err = a.writeCached(p[:head], off); err != nil {
			return done, err
		}
	}
	var buf []byte // where p does not lie on a page
	if !directio.OnPage(p[head:]) {
		b := directio.Get()
		defer directio.Put(b)
		buf = b.Mem[:directio.Unit]
	}
	for done < head+whole {
		block := p[done : head+whole]
		if buf != nil {
			block = buf[:copy(buf, block)]
		}
		n, err := a.direct.WriteAt(block, off+int64(done))
		done += n
		if err != nil {
			break // the disk is full, or the file system wants other blocks than it promised
		}
	}
	if done == len(p) {
		return done, nil
	}
	n, err := a.writeCached(p[done:], off+int64(done))
	return done + n, err
}
