// Package modeldir writes directories that from_pretrained loads: they appear
// whole or not at all, with the small files that belong to the weights.
package modeldir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/safeckpt/safeckpt/internal/atomicfile"
)

// Check refuses a target that must not be written: one that exists, unless force
// is set or it is an empty directory, one that is not of its kind (a file or a
// directory), and one inside of a source, whichever way its path leads there. A
// source "" is passed over.
func Check(dst string, file, force bool, sources ...string) error {
	info, err := os.Stat(dst)
	switch {
	case err == nil && !force && !(info.IsDir() && isEmpty(dst)):
		return fmt.Errorf("%s exists: give another path, or use --force to overwrite it", dst)
	case err == nil && info.IsDir() == file:
		return fmt.Errorf("%s is not a %s", dst, map[bool]string{true: "file", false: "directory"}[file])
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	out, err := realPath(dst)
	if err != nil {
		return err
	}
	for _, source := range sources {
		if source == "" {
			continue
		}
		src, err := realPath(source)
		if err != nil {
			return err
		}
		if rel, err := filepath.Rel(src, out); err == nil && filepath.IsLocal(rel) {
			return fmt.Errorf("%s lies inside %s, which is never written to: give a path outside", dst, source)
		}
	}
	return nil
}

// isEmpty reports whether a directory holds nothing but what a write that was
// killed left in it.
func isEmpty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !atomicfile.IsTemp(e.Name()) })
}

// realPath resolves symbolic links in the part of a path that exists.
func realPath(name string) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	rest := ""
	for {
		real, err := filepath.EvalSymlinks(abs)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		parent := filepath.Dir(abs)
		if !errors.Is(err, fs.ErrNotExist) || parent == abs {
			return "", err
		}
		abs, rest = parent, filepath.Join(filepath.Base(abs), rest)
	}
}

// A Dir is a directory that is being written. It is not safe for concurrent use;
// files in it may be written by any number of goroutines.
type Dir struct {
	// Path is where files are to be put. For a new directory it is a temporary one
	// beside it, for one that exists the directory itself.
	Path string

	target string
	step   func(op, path string) error
	fresh  bool
	done   bool
}

// Create starts to write the directory dst and makes its parents. A directory that
// exists is written to in place. step is that of atomicfile.Options. End with
// Publish or Abort.
func Create(dst string, step func(op, path string) error) (*Dir, error) {
	d := &Dir{Path: dst, target: dst, step: step}
	if err := MakeParent(dst, step); err != nil {
		return nil, err
	}
	if _, err := os.Stat(dst); err == nil {
		return d, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	d.fresh, d.Path = true, atomicfile.TempName(dst)
	if err := d.do("mkdir", d.Path, func() error { return os.Mkdir(d.Path, 0o777) }); err != nil {
		return nil, err
	}
	return d, nil
}

// MakeParent makes the directory that a file or directory is to stand in.
func MakeParent(name string, step func(op, path string) error) error {
	d := &Dir{step: step}
	parent := filepath.Dir(filepath.Clean(name))
	return d.do("mkdir", parent, func() error { return os.MkdirAll(parent, 0o777) })
}

func (d *Dir) do(op, path string, fn func() error) error {
	if d.step != nil {
		if err := d.step(op, path); err != nil {
			return err
		}
	}
	return fn()
}

// Publish puts a new directory in its place. All files in it must be there, and
// durable.
func (d *Dir) Publish() error {
	if !d.fresh {
		d.done = true
		return nil
	}
	if err := d.do("rename", d.target, func() error { return os.Rename(d.Path, d.target) }); err != nil {
		return err
	}
	d.done = true
	return atomicfile.SyncDir(filepath.Dir(filepath.Clean(d.target)), &atomicfile.Options{Step: d.step})
}

// Abort removes a new directory. One that existed stays as it is by then. After a
// Publish that succeeded it does nothing, so it can be deferred.
func (d *Dir) Abort() error {
	if d.done || !d.fresh {
		return nil
	}
	d.done = true
	return d.do("remove", d.Path, func() error { return os.RemoveAll(d.Path) })
}
