package zero

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/pickle"
	"github.com/safeckpt/safeckpt/internal/torchzip"
)

// A torchFile is a file of the checkpoint while it is being read.
type torchFile struct {
	*torchzip.Contents
	index int // in Shards.files
	name  string
}

// A stored is a tensor in a file.
type stored struct {
	file   int
	dtype  pickle.DType
	swap   bool // big-endian
	offset int64
	numel  int64
	shape  []int64
	stride []int64 // nil if the elements lie end to end
}

// withFile reads the pickle of a file in the tag directory for fn. What is wrong
// with the file, and the errors of values that fn returns, become problems; the
// result is then errRefused.
func (s *Shards) withFile(ctx context.Context, base string, fn func(t *torchFile) error) error {
	name := path.Join(s.Tag, base)
	f, err := s.fsys.Open(name)
	if err != nil {
		return s.refuse(unreadable(name, err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return s.refuse(unreadable(name, err))
	}
	r, ok := f.(io.ReaderAt)
	if !ok || !info.Mode().IsRegular() {
		return s.refuse(unreadable(name, errors.New("not a regular file that can be read at an offset")))
	}
	err = func() error {
		archive, err := torchzip.Open(ctx, r, info.Size())
		if err != nil {
			return err
		}
		contents, err := archive.Load(ctx, nil)
		if err != nil {
			return err
		}
		s.files = append(s.files, source{name, info, []torchzip.Span{{Size: info.Size()}}})
		return fn(&torchFile{contents, len(s.files) - 1, name})
	}()
	if err == nil || errors.Is(err, errRefused) || ctx.Err() != nil {
		return err
	}
	return s.refuse(broken(name, info.Size(), err))
}

// unreadable says that a file cannot be read.
func unreadable(name string, err error) diag.Problem {
	if errors.Is(err, fs.ErrNotExist) {
		p := diag.New(diag.RankMissing, "%s is missing", diag.Name(name))
		p.File = name
		return p
	}
	p := diag.New(diag.FileUnreadable, "%s cannot be read: %v", diag.Name(name), err)
	p.File, p.Got = name, err.Error()
	p.Cause, p.Fix = "missing permissions, a broken symlink, or a failing disk", "look at it with: ls -lL "+diag.Name(name)
	return p
}

// broken turns an error of reading a file into a problem.
func broken(name string, size int64, err error) diag.Problem {
	code, cause, fix := diag.RankFileDamaged,
		"the save was killed, the disk was full, or a copy was cut short",
		"copy the file again from where it is whole, or merge another tag"
	got := err.Error()
	switch {
	case errors.Is(err, torchzip.ErrEmpty):
		got = "empty (0 bytes)"
	case errors.Is(err, torchzip.ErrTruncated):
		got = fmt.Sprintf("cut short at %d bytes: %v", size, err)
	case errors.Is(err, torchzip.ErrCompressed):
		cause, fix = "the archive was packed again by another tool, or made to exhaust memory", "take the file as torch.save wrote it"
	case errors.Is(err, torchzip.ErrStorage):
		code = diag.RankStorageShort
		cause = "the file was damaged or edited; DeepSpeed's script would take the bytes that follow in the file"
	case errors.Is(err, pickle.ErrUnsafe):
		code, cause, fix = diag.RankFileUnsafe, "the file was made or altered by somebody to run a program on your machine; nothing was run",
			"do not load it with torch.load or zero_to_fp32.py; get the checkpoint from where it was trained"
	case errors.Is(err, torchzip.ErrChecksum), errors.Is(err, torchzip.ErrNotTorch), errors.Is(err, torchzip.ErrFormat), errors.Is(err, torchzip.ErrLimit):
	case isPickle(err):
		code, cause = diag.RankFileContent, "the file was not written by DeepSpeed, or by a version whose files are not known"
		fix = "verify that this is a DeepSpeed checkpoint; versions from 0.3.10 to 0.19.8 are known"
	case errors.Is(err, torchzip.ErrStrided):
		code = diag.RankFileContent
	default:
		return unreadable(name, err)
	}
	p := diag.New(code, "%s: %s", diag.Name(name), got)
	p.File, p.Got, p.Cause, p.Fix = name, got, cause, fix
	var container *torchzip.Error
	var value *pickle.Error
	if errors.As(err, &container) {
		p.Offset = diag.At(container.Offset)
	} else if errors.As(err, &value) && value.Offset >= 0 {
		p.Offset = diag.At(value.Offset)
	}
	return p
}

func isPickle(err error) bool {
	var e *pickle.Error
	return errors.As(err, &e)
}

// content refuses a file for what it says.
func (s *Shards) content(code diag.Code, name, format string, args ...any) error {
	p := diag.New(code, "%s: "+format, append([]any{diag.Name(name)}, args...)...)
	p.File = name
	p.Cause = "the files are of different saves or runs, or were edited"
	p.Fix = "copy the whole tag directory again, or merge another tag"
	return s.refuse(p)
}

// stored says where the tensor v is.
func (t *torchFile) stored(v pickle.Value) (*stored, error) {
	tensor, err := v.Tensor()
	if err != nil {
		return nil, err
	}
	span, err := t.Storage(tensor.Storage)
	if err != nil {
		return nil, err
	}
	st := &stored{file: t.index, dtype: tensor.DType, swap: t.BigEndian && tensor.DType.Size() > 1,
		offset: span.Offset + tensor.Offset*tensor.DType.Size(), numel: tensor.Numel(), shape: tensor.Shape()}
	if st.numel == 0 {
		st.offset = span.Offset
	} else if !tensor.Contiguous() {
		st.stride = tensor.Strides()
	}
	return st, nil
}

// scalar reads a number that is an int, a float or a tensor of one.
func (t *torchFile) scalar(v pickle.Value) (float64, bool) {
	if x, err := v.Float(); err == nil {
		return x, true
	}
	tensor, err := v.Tensor()
	if err != nil || tensor.Numel() != 1 {
		return 0, false
	}
	x, err := t.Scalar(tensor)
	return x, err == nil
}
