//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly

package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// sameDevice: a junction is no directory to Lstat, so that nothing leads away.
func sameDevice(_, _ fs.FileInfo) bool { return true }

// lockDir makes a file that no other process can make while it is there.
func lockDir(dir string) (unlock func(), err error) {
	name := filepath.Join(dir, ".safeckpt-lock")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%w (if none does: delete %s)", ErrLocked, name)
	}
	if err != nil {
		return nil, err
	}
	return func() { _ = f.Close(); _ = os.Remove(name) }, nil
}
