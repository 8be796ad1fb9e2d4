package mmapfile

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/exp/mmap"
)

// open goes through /proc, which leads to the open file itself, even if its name
// is gone. Where /proc is not mounted, the name has to do.
func open(f *os.File) (*mmap.ReaderAt, error) {
	r, err := mmap.Open("/proc/self/fd/" + strconv.FormatUint(uint64(f.Fd()), 10))
	runtime.KeepAlive(f)
	if err != nil {
		return openPath(f, f.Name())
	}
	return r, nil
}
