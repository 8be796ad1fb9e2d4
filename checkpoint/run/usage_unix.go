//go:build linux || darwin || freebsd

package run

import (
	"os"

	"golang.org/x/sys/unix"
)

func fromStat(st *unix.Stat_t) fileStat {
	//nolint:unconvert // the types differ between systems
	return fileStat{
		size:      int64(st.Size),
		allocated: int64(st.Blocks) * 512,
		dev:       uint64(st.Dev),
		ino:       uint64(st.Ino),
		links:     uint64(st.Nlink),
		dir:       uint32(st.Mode)&unix.S_IFMT == unix.S_IFDIR,
	}
}

func statPath(path string) (fileStat, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fileStat{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return fromStat(&st), nil
}

// readDir calls visit for everything in a directory. Names are looked up
// relative to the open directory, which spares the kernel the path.
func readDir(path string, visit func(name string, st *fileStat, err error)) error {
	d, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer d.Close()
	fd := int(d.Fd())
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			var st unix.Stat_t
			if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				visit(name, nil, err)
				continue
			}
			s := fromStat(&st)
			visit(name, &s, nil)
		}
		if err != nil || len(names) == 0 {
			return nil // io.EOF
		}
	}
}

func freeBytes(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return freeOf(&st), nil
}
