package atomicfile

import (
	"io"
	"os"

	"github.com/safeckpt/safeckpt/internal/directio"
)

// CopyAt writes n bytes of src from srcOff on at off. Where src is a file and the
// file system a remote one, that copies by itself if it can. It returns how many
// bytes were written; fewer than n come with an error, io.ErrUnexpectedEOF if src
// has no more. It is safe for concurrent use.
func (a *File) CopyAt(src io.ReaderAt, srcOff, n, off int64) (done int64, err error) {
	err = a.step("copy", a.temp, func() (err error) {
		if f, ok := src.(*os.File); ok {
			if done, err = copyRange(a.f, off, f, srcOff, n); err != nil {
				return err
			}
		}
		b := directio.Get()
		defer directio.Put(b)
		for done < n {
			skip := int((off + done) % directio.Page) // whole pages of the file become whole pages of memory
			block := b.Mem[skip:directio.Unit]
			block = block[:min(n-done, int64(len(block)))]
			k, err := src.ReadAt(block, srcOff+done)
			if k < len(block) && (err == nil || err == io.EOF) {
				err = io.ErrUnexpectedEOF
			} else if k == len(block) {
				err = nil
			}
			k, writeErr := a.writeAt(block[:k], off+done)
			done += int64(k)
			if writeErr != nil {
				return writeErr
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return done, err
}
