package run

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/atomicfile"
)

// KeepOptions configures Keep. Nil means defaults.
type KeepOptions struct {
	// Name of the copy in the directory; "" means RUN-checkpoint-N.
	Name string
	// HardLink links files instead of copying them. It takes no space, but the
	// Trainer writes some files in place: a save over the same step changes the
	// copy too.
	HardLink bool
	// Progress is called with the bytes copied so far and in all, from the calling
	// goroutine.
	Progress func(done, total int64)

	// step is called before every operation that changes files; see ApplyOptions.
	step func(op, path string) error
}

// sumsFile is in the format of sha256sum: cd COPY && sha256sum -c SHA256SUMS.
const sumsFile = "SHA256SUMS"

// Keep makes a permanent copy of a checkpoint in the directory to, which no
// rotation looks at, and returns its path. The copy appears whole or not at all:
// it is written under a hidden name, synced, read back and held against the
// digests of what was read, and renamed. Where the file system can, the bytes
// are shared (reflink). A file SHA256SUMS is added to the copy; nothing is
// written to the source, not even its times. Only a complete checkpoint is kept.
// A copy that is there already and equal is fine.
func Keep(ctx context.Context, src, to string, o *KeepOptions) (string, error) {
	k := &keeper{ctx: ctx}
	if o != nil {
		k.o = *o
	}
	src, err := resolveRun(src)
	if err != nil {
		return "", err
	}
	name := k.o.Name
	if name == "" {
		name = filepath.Base(filepath.Dir(src)) + "-" + filepath.Base(src)
	}
	if !filepath.IsLocal(name) || filepath.Base(name) != name || strings.HasPrefix(name, "checkpoint-") || strings.HasPrefix(name, ".") {
		return "", fmt.Errorf("%q cannot be the copy's name: the Trainer's rotation deletes checkpoint-*", name)
	}
	if err := wholeDir(ctx, src); err != nil {
		return "", err
	}
	if err := os.MkdirAll(to, 0o777); err != nil {
		return "", err
	}
	if to, err = resolveRun(to); err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(src, to); err == nil && filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s is inside the checkpoint", to)
	}
	for dir := to; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if strings.HasPrefix(filepath.Base(dir), "checkpoint-") && filepath.Dir(dir) == filepath.Dir(src) {
			return "", fmt.Errorf("%s lies in the run's %s, which the Trainer's rotation deletes", to, filepath.Base(dir))
		}
	}
	target := filepath.Join(to, name)
	if _, err := os.Lstat(target); err == nil {
		return target, k.same(src, target)
	}
	return target, k.copy(src, target)
}

// wholeDir says why a directory is not a whole checkpoint.
func wholeDir(ctx context.Context, dir string) error {
	c, err := checkpoint.Open(ctx, dir, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	if !c.Complete(ctx) {
		return fmt.Errorf("%s is not a complete checkpoint (safeckpt verify says why)", dir)
	}
	return nil
}

type keeper struct {
	ctx         context.Context
	o           KeepOptions
	done, total int64
}

// A keptFile is a file of the source at the time of the copy.
type keptFile struct {
	name string // relative, with slashes
	info fs.FileInfo
	sum  [sha256.Size]byte
}

func (k *keeper) do(op, path string, fn func() error) error {
	if k.o.step != nil {
		if err := k.o.step(op, path); err != nil {
			return err
		}
	}
	return fn()
}

// list returns the directories and files of a checkpoint. Symlinks to files are
// copied as what they lead to; one to a directory is refused.
func (k *keeper) list(src string) (dirs []string, files []*keptFile, err error) {
	err = filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel != "." {
				dirs = append(dirs, rel)
			}
			return nil
		}
		if isTemp(d.Name()) {
			return nil
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is neither a file nor a directory", path)
		}
		files = append(files, &keptFile{name: filepath.ToSlash(rel), info: info})
		k.total += info.Size()
		return nil
	})
	return dirs, files, err
}

func (k *keeper) copy(src, target string) (err error) {
	dirs, files, err := k.list(src)
	if err != nil {
		return err
	}
	parent := filepath.Dir(target)
	if free, err := freeBytes(parent); err == nil && free < k.total && !k.o.HardLink {
		return fmt.Errorf("%s: %w: the copy takes %s, %s are free; nothing was written", parent, diag.DiskFull, diag.Size(uint64(k.total)), diag.Size(uint64(free)))
	}
	temp := filepath.Join(parent, trashPrefix+"keep-"+rand.Text())
	defer func() {
		if err != nil {
			err = errors.Join(err, k.do("removeall", temp, func() error { return os.RemoveAll(temp) }))
		}
	}()
	if err := k.do("mkdir", temp, func() error { return os.Mkdir(temp, 0o777) }); err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := k.do("mkdir", dir, func() error { return os.Mkdir(filepath.Join(temp, dir), 0o777) }); err != nil {
			return err
		}
	}
	var sums bytes.Buffer
	for _, f := range files {
		if err := k.copyFile(src, temp, f); err != nil {
			return err
		}
		if f.name != sumsFile {
			fmt.Fprintf(&sums, "%s  %s\n", hex.EncodeToString(f.sum[:]), f.name)
		}
	}
	for _, f := range files { // read back what was written
		if k.o.HardLink {
			break
		}
		sum, err := k.digest(filepath.Join(temp, filepath.FromSlash(f.name)), false)
		if err != nil {
			return err
		}
		if sum != f.sum {
			return fmt.Errorf("%s reads back differently from what was written: the disk or the memory fails", f.name)
		}
	}
	if err := k.unchanged(src, files); err != nil {
		return err
	}
	if err := k.write(filepath.Join(temp, sumsFile), sums.Bytes()); err != nil {
		return err
	}
	for _, dir := range slices.Backward(append([]string{"."}, dirs...)) {
		if err := atomicfile.SyncDir(filepath.Join(temp, dir), &atomicfile.Options{Step: k.o.step}); err != nil {
			return err
		}
	}
	if err := k.do("rename", target, func() error { return os.Rename(temp, target) }); err != nil {
		return err
	}
	return atomicfile.SyncDir(parent, &atomicfile.Options{Step: k.o.step})
}

func (k *keeper) copyFile(src, temp string, f *keptFile) error {
	from, to := filepath.Join(src, filepath.FromSlash(f.name)), filepath.Join(temp, filepath.FromSlash(f.name))
	if k.o.HardLink {
		if err := k.do("link", to, func() error { return os.Link(from, to) }); err != nil {
			return err
		}
		sum, err := k.digest(from, true)
		f.sum = sum
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	var out *os.File
	if err := k.do("create", to, func() (err error) {
		out, err = os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_RDWR, f.info.Mode().Perm()|0o600)
		return err
	}); err != nil {
		return err
	}
	defer out.Close()
	if err := k.do("reflink", to, func() error { return reflink(out, in) }); err == nil {
		if f.sum, err = k.digest(from, true); err != nil {
			return err
		}
	} else if errors.Is(err, errNoReflink) {
		if err := k.copyBytes(out, in, f); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	} else {
		return err
	}
	if err := k.do("sync", to, out.Sync); err != nil {
		return err
	}
	if err := k.do("close", to, out.Close); err != nil {
		return err
	}
	return k.do("chtimes", to, func() error { return os.Chtimes(to, f.info.ModTime(), f.info.ModTime()) })
}

// copyBytes copies and digests what it copies.
func (k *keeper) copyBytes(out, in *os.File, f *keptFile) error {
	sum := sha256.New()
	buf := make([]byte, 1<<20)
	for {
		if err := k.ctx.Err(); err != nil {
			return err
		}
		n, err := in.Read(buf)
		if n > 0 {
			sum.Write(buf[:n])
			if err := k.do("write", f.name, func() error { _, err := out.Write(buf[:n]); return err }); err != nil {
				return err
			}
			k.progress(n)
		}
		if errors.Is(err, io.EOF) {
			sum.Sum(f.sum[:0])
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (k *keeper) progress(n int) {
	k.done += int64(n)
	if k.o.Progress != nil {
		k.o.Progress(k.done, k.total)
	}
}

func (k *keeper) digest(name string, counts bool) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for {
		if err := k.ctx.Err(); err != nil {
			return sum, err
		}
		n, err := f.Read(buf)
		h.Write(buf[:n])
		if counts && n > 0 {
			k.progress(n)
		}
		if errors.Is(err, io.EOF) {
			h.Sum(sum[:0])
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
	}
}

// unchanged makes sure that nobody wrote to the source while it was copied.
func (k *keeper) unchanged(src string, files []*keptFile) error {
	_, now, err := k.list(src)
	if err != nil {
		return err
	}
	changed := len(now) != len(files)
	for i := 0; !changed && i < len(files); i++ {
		a, b := files[i], now[i]
		changed = a.name != b.name || a.info.Size() != b.info.Size() || !a.info.ModTime().Equal(b.info.ModTime()) || !os.SameFile(a.info, b.info)
	}
	if changed {
		return fmt.Errorf("%s was changed while it was copied: wait until its save is finished", src)
	}
	return nil
}

func (k *keeper) write(name string, data []byte) error {
	var f *os.File
	if err := k.do("create", name, func() (err error) {
		f, err = os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o666)
		return err
	}); err != nil {
		return err
	}
	defer f.Close()
	if err := k.do("write", name, func() error { _, err := f.Write(data); return err }); err != nil {
		return err
	}
	if err := k.do("sync", name, f.Sync); err != nil {
		return err
	}
	return f.Close()
}

// same holds a copy that is there already against the source.
func (k *keeper) same(src, target string) error {
	_, files, err := k.list(src)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.name == sumsFile {
			continue
		}
		a, err := k.digest(filepath.Join(src, filepath.FromSlash(f.name)), true)
		if err != nil {
			return err
		}
		b, err := k.digest(filepath.Join(target, filepath.FromSlash(f.name)), false)
		if err != nil || a != b {
			return fmt.Errorf("%s exists and is not a copy of %s (%s differs): give another name or directory", target, src, f.name)
		}
	}
	return nil
}
