//go:build linux || darwin || freebsd

package run

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

func fromStat(st *unix.Stat_t) fileStat {
	sec, nsec := st.Mtim.Unix()
	//nolint:unconvert // the types differ between systems
	return fileStat{
		size:      int64(st.Size),
		allocated: int64(st.Blocks) * 512,
		dev:       uint64(st.Dev),
		ino:       uint64(st.Ino),
		links:     uint64(st.Nlink),
		dir:       uint32(st.Mode)&unix.S_IFMT == unix.S_IFDIR,
		modTime:   time.Unix(sec, nsec),
	}
}

func statPath(path string) (fileStat, error) {
	var st unix.Stat_t
	if err := again(func() error { return unix.Lstat(path, &st) }); err != nil {
		return fileStat{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return fromStat(&st), nil
}

func freeBytes(path string) (int64, error) {
	var st unix.Statfs_t
	if err := again(func() error { return unix.Statfs(path, &st) }); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return freeOf(&st), nil
}

// again repeats a system call that a signal interrupted, as can happen on
// network file systems.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
