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
	return fileStat{size: size, allocated: size, links: 1, dir: info.IsDir()}
}

func statPath(path string) (fileStat, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return fileStat{}, err
	}
	return fromInfo(info), nil
}

func readDir(path string, visit func(name string, st *fileStat, err error)) error {
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			visit(e.Name(), nil, err)
			continue
		}
		st := fromInfo(info)
		visit(e.Name(), &st, nil)
	}
	return err
}
