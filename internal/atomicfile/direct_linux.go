package atomicfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/safeckpt/safeckpt/internal/directio"
)

// reserve allocates size bytes for f and opens it for writes past the page cache.
// Where that cannot be it returns nil and leaves f as it is.
func reserve(f *os.File, size int64) (*os.File, error) {
	if directio.PlaceOf(f) != directio.Disk {
		return nil, nil
	}
	direct, err := directio.Reopen(f, os.O_WRONLY)
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
