// Package atomicfile writes files that appear whole or not at all.
//
// The data goes to a temporary file in the directory of the target, is synced,
// and is renamed over the target; then the directory is synced. A crash at any
// point leaves the old file, or none, and at most a temporary file that IsTemp
// recognises.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Options are the ways to write; nil means the defaults.
type Options struct {
	// InPlace allows an existing target to be overwritten where the file system
	// refuses to rename, as some object stores do: the finished temporary file
	// is copied over it, and a crash during the copy loses the old file. Without
	// it such a Commit fails and leaves the old file. A target that does not
	// exist yet is always copied where renaming is refused: there is nothing to
	// lose, and a reader sees a file that was cut short.
	InPlace bool

	// Step, if not nil, is called before every operation that changes files,
	// with the operation ("create", "write", "sync", "rename", ...) and the path;
	// if it returns an error, that is returned in place of the operation. Tests
	// use it to stop a writer at every point: having failed once it must go on
	// failing, as a dead process would. WriteAt calls it concurrently.
	Step func(op, path string) error
}

// tempPrefix starts the names of temporary files. They are neither
// *.safetensors nor checkpoint-N, so no loader or rotation takes one for data.
const tempPrefix = ".safeckpt-tmp-"

// IsTemp reports whether a file of that base name was left behind by a write
// that was killed. It can be deleted unless its writer still runs.
func IsTemp(base string) bool { return strings.HasPrefix(base, tempPrefix) }

// A File is a file that is being written. Write and ReadFrom append and are not
// safe for concurrent use; WriteAt and CopyAt are.
type File struct {
	target string
	temp   string
	f      *os.File
	direct *os.File // the same, past the page cache; nil without Reserve
	// writing is held while f is written to: the kernel lets one thread at a time
	// do so, for whom others would wait in a loop.
	writing sync.Mutex
	old     fs.FileInfo // what the target is now, nil if there is none
	opts    Options
	synced  bool // data written, synced and closed
	done    bool // published or aborted
}

// Create starts to write the file that name will be; the directory must exist.
// A file that is there keeps its permissions but not its owner. A symbolic link
// is replaced, not followed: in a Hugging Face cache it leads to a file whose
// name is the hash of its content. End with Commit or Abort.
func Create(name string, opts *Options) (*File, error) {
	a := &File{target: name}
	if opts != nil {
		a.opts = *opts
	}
	info, err := os.Stat(name)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", name)
	case err == nil:
		a.old = info
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	a.temp = filepath.Join(filepath.Dir(name), tempPrefix+rand.Text())
	err = a.step("create", a.temp, func() (err error) {
		// The umask applies, as it does to any new file.
		a.f, err = os.OpenFile(a.temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		return err
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// step runs one operation on files, unless the test's hook forbids it.
func (a *File) step(op, path string, do func() error) error {
	if a.opts.Step != nil {
		if err := a.opts.Step(op, path); err != nil {
			return err
		}
	}
	return do()
}

// Name returns the path that Commit will fill.
func (a *File) Name() string { return a.target }

// Write appends p.
func (a *File) Write(p []byte) (n int, err error) {
	err = a.step("write", a.temp, func() (err error) { n, err = a.f.Write(p); return err })
	return n, err
}

// WriteAt writes p at off.
func (a *File) WriteAt(p []byte, off int64) (n int, err error) {
	err = a.step("write", a.temp, func() (err error) { n, err = a.writeAt(p, off); return err })
	return n, err
}

func (a *File) writeAt(p []byte, off int64) (int, error) {
	if a.direct != nil {
		return a.writeDirect(p, off)
	}
	return a.writeCached(p, off)
}

func (a *File) writeCached(p []byte, off int64) (int, error) {
	a.writing.Lock()
	defer a.writing.Unlock()
	return a.f.WriteAt(p, off)
}

// ReadFrom appends all of r. Where r is a file, or an io.LimitedReader of one,
// the kernel copies if it can.
func (a *File) ReadFrom(r io.Reader) (n int64, err error) {
	err = a.step("copy", a.temp, func() (err error) { n, err = a.f.ReadFrom(r); return err })
	return n, err
}

// Abort gives up: the temporary file is removed and the target stays as it was.
// After a Commit that succeeded it does nothing, so it can be deferred.
func (a *File) Abort() error {
	if a.done {
		return nil
	}
	a.done = true
	err := a.close()
	return errors.Join(err, a.step("remove", a.temp, func() error { return os.Remove(a.temp) }))
}

func (a *File) close() error {
	if a.f == nil {
		return nil
	}
	err := a.f.Close() // also in a test that plays dead: the file must not leak
	a.f = nil
	if a.direct != nil {
		err = errors.Join(err, a.direct.Close())
	}
	return err
}

// Sync makes the data durable under its temporary name and closes the file. It
// is the part of Commit that takes long and can run out of space; call it
// before publishing one of several files that belong together.
func (a *File) Sync() error {
	if a.synced || a.done {
		return nil
	}
	if a.old != nil {
		if err := a.step("chmod", a.temp, func() error { return os.Chmod(a.temp, a.old.Mode().Perm()) }); err != nil {
			return err
		}
	}
	if err := a.step("sync", a.temp, func() error { return a.f.Sync() }); err != nil {
		return err
	}
	if err := a.step("close", a.temp, a.close); err != nil {
		return err
	}
	a.synced = true
	return nil
}

// Commit makes the data durable and puts it in the target's place. If it fails,
// the target is as it was, except where Options.InPlace says otherwise; call
// Abort to remove the temporary file.
func (a *File) Commit() error {
	if err := a.Publish(); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(a.target), &a.opts)
}

// Publish is Commit without the sync of the directory, for callers that publish
// several files into one and then call SyncDir.
func (a *File) Publish() error {
	if a.done {
		return fs.ErrClosed
	}
	if err := a.Sync(); err != nil {
		return err
	}
	err := a.step("rename", a.target, func() error { return os.Rename(a.temp, a.target) })
	if err != nil && renameRefused(err) {
		err = a.copyOver(err)
	}
	if err != nil {
		return err
	}
	a.done = true
	return nil
}

// renameRefused reports whether a file system that cannot rename answered err.
// FUSE object stores say "function not implemented", "operation not supported"
// or "operation not permitted".
func renameRefused(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission)
}

// copyOver is the fallback of Publish; see Options.InPlace.
func (a *File) copyOver(refused error) error {
	flag := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if a.old != nil {
		if !a.opts.InPlace {
			return fmt.Errorf("renaming is refused, and overwriting in place is not allowed: %w", refused)
		}
		flag = os.O_WRONLY | os.O_TRUNC
	}
	src, err := os.Open(a.temp)
	if err != nil {
		return err
	}
	defer src.Close()
	var dst *os.File
	err = a.step("overwrite", a.target, func() (err error) {
		dst, err = os.OpenFile(a.target, flag, 0o666)
		return err
	})
	if err != nil {
		return fmt.Errorf("%w; before that, renaming was refused: %w", err, refused)
	}
	_, err = io.Copy(dst, src)
	if err == nil {
		err = dst.Sync()
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		a.done = true // Abort must not remove what may be the only whole copy
		return fmt.Errorf("%s is now incomplete, its whole content is in %s: %w", a.target, a.temp, err)
	}
	// The target is whole: a temporary file that stays costs only space.
	_ = src.Close() // Windows removes no open file
	_ = a.step("remove", a.temp, func() error { return os.Remove(a.temp) })
	return nil
}

// Remove removes a file as one step of a write.
func Remove(name string, opts *Options) error {
	a := File{}
	if opts != nil {
		a.opts = *opts
	}
	return a.step("remove", name, func() error { return os.Remove(name) })
}

// SyncDir makes renames and removals in dir durable, where the system can.
func SyncDir(dir string, opts *Options) error {
	a := File{}
	if opts != nil {
		a.opts = *opts
	}
	return a.step("syncdir", dir, func() error { return syncDir(dir) })
}

// TempName returns a name beside that of a target for a directory that will be
// renamed to it. IsTemp recognises it.
func TempName(target string) string {
	return filepath.Join(filepath.Dir(filepath.Clean(target)), tempPrefix+rand.Text())
}
