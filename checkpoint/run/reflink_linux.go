package run

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// errNoReflink: the file system, or the pair of them, cannot share bytes.
var errNoReflink = errors.New("no reflink")

// reflink lets dst share all bytes of src: they are copied when one is written.
func reflink(dst, src *os.File) error {
	if err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())); err != nil {
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EIO) {
			return err
		}
		return errNoReflink
	}
	return nil
}
