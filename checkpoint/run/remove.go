package run

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A remover deletes below one directory. It never follows a symlink and never
// crosses into another file system.
type remover struct {
	root *os.Root
	step func(op, path string) error
}

func (r *remover) do(op, path string, fn func() error) error {
	if r.step != nil {
		if err := r.step(op, path); err != nil {
			return err
		}
	}
	return fn()
}

// removable looks for what must not be deleted, before anything is.
func (r *remover) removable(name string, info fs.FileInfo) error {
	if info.Mode()&fs.ModeSymlink != 0 {
		return errors.New("a symbolic link: it and what it leads to stay")
	}
	if !info.IsDir() {
		return nil
	}
	top, err := r.root.Lstat(".")
	if err != nil {
		return err
	}
	return r.walk(name, func(path string, info fs.FileInfo) error {
		if !sameDevice(top, info) {
			return fmt.Errorf("%s is a mount point: unmount it first", path)
		}
		return nil
	})
}

func (r *remover) walk(name string, visit func(path string, info fs.FileInfo) error) error {
	info, err := r.root.Lstat(name)
	if err != nil {
		return err
	}
	if err := visit(name, info); err != nil || !info.IsDir() {
		return err
	}
	names, err := r.names(name)
	if err != nil {
		return err
	}
	for _, n := range names {
		err := r.walk(filepath.Join(name, n), visit)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (r *remover) names(dir string) ([]string, error) {
	d, err := r.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	// The file that says that a checkpoint is whole goes first.
	slices.SortFunc(names, func(a, b string) int {
		if a == "trainer_state.json" || b == "trainer_state.json" {
			if a == b {
				return 0
			} else if a == "trainer_state.json" {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	return names, err
}

// remove deletes a file, or renames a directory to a name that no loader and no
// rotation looks at and then deletes it.
func (r *remover) remove(name string, info fs.FileInfo) error {
	if !info.IsDir() {
		return r.do("remove", name, func() error { return r.root.Remove(name) })
	}
	trash := name
	if !strings.HasPrefix(filepath.Base(name), trashPrefix) {
		trash = filepath.Join(filepath.Dir(name), trashPrefix+filepath.Base(name)+"-"+rand.Text()[:8])
		err := r.do("rename", name, func() error { return r.root.Rename(name, trash) })
		if err != nil {
			return fmt.Errorf("%s is still whole, it could not be renamed: %w", name, err)
		}
		if err := r.syncParent(trash); err != nil {
			return err
		}
	}
	return r.removeAll(trash)
}

// removeAll deletes a directory from the leaves up. What appears while it does
// (another process still writes) is deleted too, within reason.
func (r *remover) removeAll(dir string) error {
	var last error
	for range 8 {
		names, err := r.names(dir)
		if err != nil {
			return err
		}
		for _, n := range names {
			path := filepath.Join(dir, n)
			info, err := r.root.Lstat(path)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				continue
			case err != nil:
				return err
			case info.IsDir():
				if err := r.removeAll(path); err != nil {
					return err
				}
				continue
			}
			err = r.do("remove", path, func() error { return r.root.Remove(path) })
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		last = r.do("rmdir", dir, func() error { return r.root.Remove(dir) })
		if last == nil || errors.Is(last, fs.ErrNotExist) {
			return nil
		}
		if names, err := r.names(dir); err != nil || len(names) == 0 {
			break // not because something appeared
		}
	}
	return last
}

// syncParent makes a rename durable, where the system can.
func (r *remover) syncParent(name string) error {
	return r.do("syncdir", name, func() error {
		d, err := r.root.Open(filepath.Dir(name))
		if err != nil {
			return err
		}
		defer d.Close()
		_ = d.Sync() // some file systems refuse; the rename itself is done
		return nil
	})
}
