package atomicfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// reserve allocates size bytes for f, which is the file name, and opens it for
// writes past the page cache. On file systems that cannot, or live in memory, it
// returns nil and leaves f as it is.
func reserve(f *os.File, name string, size int64) (*os.File, error) {
	switch fileSystem(f) {
	case 0, unix.TMPFS_MAGIC, unix.RAMFS_MAGIC, nfs, cifs, smb2, ceph, fuse:
		return nil, nil
	}
	direct, err := os.OpenFile(name, os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, nil
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	}
	if err == nil {
		return direct, nil
	}
	_ = direct.Close() // nothing was written through it
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EFBIG), errors.Is(err, unix.EIO):
		return nil, os.NewSyscallError("fallocate", err)
	}
	return nil, nil // without it every write would have to wait for the one before
}
