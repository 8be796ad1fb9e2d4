//go:build darwin || freebsd

package run

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A dirReader reads directories, one after another.
type dirReader struct{ st unix.Stat_t }

// read calls visit for everything in a directory. Names are looked up relative
// to the open directory. The error is about the directory.
func (d *dirReader) read(path string, visit func(name string, st fileStat, err error)) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fd := int(f.Fd())
	for {
		names, err := f.Readdirnames(1024)
		for _, name := range names {
			if err := again(func() error { return unix.Fstatat(fd, name, &d.st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
				visit(name, fileStat{}, err)
				continue
			}
			visit(name, fromStat(&d.st), nil)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func freeOf(st *unix.Statfs_t) int64 { return int64(st.Bavail) * int64(st.Bsize) }
