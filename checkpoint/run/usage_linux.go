package run

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// A dirReader reads directories, one after another. Names are taken from the
// kernel's own records and looked up relative to the open directory, which
// spares sorting, an os.File and the path of every file: all that du does not
// spend either.
type dirReader struct {
	buf []byte
	st  unix.Stat_t
}

// The kernel's struct linux_dirent64: inode and offset, the record's length, the
// type, and the name with a NUL.
const direntLen, direntName = 16, 19

// read calls visit for everything in a directory but for symlinks' targets. The
// error is about the directory.
func (d *dirReader) read(path string, visit func(name string, st fileStat, err error)) error {
	var fd int
	err := again(func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if d.buf == nil {
		d.buf = make([]byte, 32<<10)
	}
	for {
		n, err := unix.ReadDirent(fd, d.buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "getdents", Path: path, Err: err}
		}
		if n <= 0 {
			return nil
		}
		for records := d.buf[:n]; len(records) > 0; {
			length := 0
			if len(records) > direntName {
				length = int(binary.NativeEndian.Uint16(records[direntLen:]))
			}
			if length <= direntName || length > len(records) {
				return &os.PathError{Op: "getdents", Path: path, Err: errors.New("not a directory's record")}
			}
			name, _, _ := bytes.Cut(records[direntName:length], []byte{0})
			records = records[length:]
			if s := string(name); s != "." && s != ".." {
				st, err := d.stat(fd, s)
				visit(s, st, err)
			}
		}
	}
}

func (d *dirReader) stat(dir int, name string) (fileStat, error) {
	err := unix.Fstatat(dir, name, &d.st, unix.AT_SYMLINK_NOFOLLOW)
	for err == unix.EINTR {
		err = unix.Fstatat(dir, name, &d.st, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return fileStat{}, err
	}
	return fromStat(&d.st), nil
}

// freeOf: Linux counts blocks in fragments (Frsize) where it has them; Bsize is
// the size that is best for reading.
func freeOf(st *unix.Statfs_t) int64 {
	size := int64(st.Frsize)
	if size == 0 {
		size = int64(st.Bsize)
	}
	return int64(st.Bavail) * size
}
