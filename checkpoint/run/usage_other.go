//go:build !linux && !darwin && !freebsd

package run

import (
	"io/fs"
	"os"
)

// Here allocated is taken to be the size, and every link counts: the system
// says neither cheaply.

func fromInfo(info fs.FileInfo) fileStat {
	size := info.Size()
	if info.IsDir() {
		size = 0
	}
	return fileStat{size: size, allocated: size, links: 1, dir: info.IsDir(), modTime: info.ModTime()}
}

func statPath(path string) (fileStat, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return fileStat{}, err
	}
	return fromInfo(info), nil
}

// A dirReader reads directories, one after another.
type dirReader struct{}

// read calls visit for everything in a directory. The error is about the
// directory.
func (*dirReader) read(path string, visit func(name string, st fileStat, err error)) error {
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			visit(e.Name(), fileStat{}, err)
			continue
		}
		visit(e.Name(), fromInfo(info), nil)
	}
	return err
}
