//go:build !linux

package mmapfile

import (
	"os"

	"golang.org/x/exp/mmap"
)

func open(f *os.File) (*mmap.ReaderAt, error) { return openPath(f, f.Name()) }
