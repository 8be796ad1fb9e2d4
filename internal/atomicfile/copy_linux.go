package atomicfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// copyRange lets the kernel copy n bytes, without bringing them into this
// process. It returns how many it copied before it would not go on; what is left
// has to be copied in another way. Only errors that those would have too count.
func copyRange(dst *os.File, off int64, src *os.File, srcOff, n int64) (done int64, err error) {
	in, err := src.SyscallConn()
	if err != nil {
		return 0, nil
	}
	out, err := dst.SyscallConn()
	if err != nil {
		return 0, nil
	}
	for done < n && err == nil {
		from, to, k := srcOff+done, off+done, 0
		var copyErr error
		err = errors.Join(in.Control(func(in uintptr) {
			err := out.Control(func(out uintptr) {
				k, copyErr = unix.CopyFileRange(int(in), &from, int(out), &to, int(min(n-done, 1<<30)), 0)
			})
			copyErr = errors.Join(copyErr, err)
		}))
		switch {
		case errors.Is(copyErr, unix.EINTR):
		case errors.Is(copyErr, unix.ENOSPC), errors.Is(copyErr, unix.EDQUOT), errors.Is(copyErr, unix.EFBIG), errors.Is(copyErr, unix.EIO):
			return done, os.NewSyscallError("copy_file_range", copyErr)
		case copyErr != nil || k == 0:
			return done, nil // not supported between these files, or src has ended
		default:
			done += int64(k)
		}
	}
	return done, err
}
