package checkpoint

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"regexp"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/torchzip"
)

var torchFile = regexp.MustCompile(`\.(pt|pth|bin)$`)

// readTorchFiles reads the directories of the archives that torch.save wrote
// beside the weights. Nothing is unpickled.
func (c *Checkpoint) readTorchFiles(ctx context.Context) {
	c.torch = make(map[string]error)
	for _, name := range c.files.match(torchFile) {
		if binFile.MatchString(name) || name == adapterBinFile {
			continue // weights, which checkWeights names
		}
		c.torch[name] = c.withTorchFile(name, func(r io.ReaderAt, size int64) error {
			_, err := torchzip.Open(ctx, r, size)
			return err
		})
	}
}

// withTorchFile opens a file for fn. Where the file system cannot read at an
// offset, the file is not looked at.
func (c *Checkpoint) withTorchFile(name string, fn func(r io.ReaderAt, size int64) error) error {
	f, err := openRegular(c.fsys, name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r, ok := f.(io.ReaderAt)
	if !ok {
		return nil
	}
	return fn(r, info.Size())
}

// sizeOf returns how long a file is, 0 if that cannot be said.
func (c *Checkpoint) sizeOf(name string) int64 {
	info, err := fs.Stat(c.fsys, name)
	if err != nil {
		return 0
	}
	return info.Size()
}

// checkTorchFiles says which archives are broken; with Values also those whose
// bytes do not have their checksum, which torch.load does not look at.
func checkTorchFiles(v *validation) error {
	for _, name := range sortedKeys(v.c.torch) {
		err := v.c.torch[name]
		if err == nil && v.o.Values {
			if err := v.checkTorchSums(name); err != nil {
				return err
			}
		}
		if err == nil {
			continue
		}
		var file *fs.PathError
		if errors.As(err, &file) {
			v.add(unreadable(name, err))
			continue
		}
		p := diag.New(diag.NotTorchArchive, "%v", err)
		p.File, p.Want, p.Got = name, "a whole archive as torch.save writes it", err.Error()
		p.Cause = "the save was killed, the disk was full, or the file is a Git LFS pointer"
		p.Fix = "resume from an earlier checkpoint, or copy the file again"
		v.add(p)
	}
	return nil
}

func (v *validation) checkTorchSums(name string) error {
	return v.c.withTorchFile(name, func(r io.ReaderAt, size int64) error {
		archive, err := torchzip.Open(v.ctx, r, size)
		if err != nil {
			return err // it could be opened before
		}
		checked, err := archive.Check(v.ctx, v.progress)
		if err != nil {
			return err
		}
		for _, damaged := range checked.Damaged {
			p := diag.New(diag.TorchChecksum, "%v", damaged)
			p.File, p.Offset = name, diag.At(damaged.Offset)
			p.Cause = "the disk, the memory or a copy damaged the bytes; torch.load would accept them without a word"
			p.Fix = "copy the file again from where it is whole, or resume from another checkpoint"
			v.add(p)
		}
		return nil
	})
}
