package safetensors

import (
	"context"
	"fmt"
	"io"

	"github.com/safeckpt/safeckpt/diag"
)

// A Tensor is one tensor of an open File. It is a small value to be copied, and
// safe for concurrent use. Its data is little-endian, in row-major order.
type Tensor struct {
	f    *File
	info *TensorInfo
}

// Info returns the name, dtype, shape and place of the tensor. Its Shape must
// not be modified.
func (t Tensor) Info() TensorInfo { return *t.info }

// File returns the file that holds the tensor.
func (t Tensor) File() *File { return t.f }

// offset returns where in the file the data starts.
func (t Tensor) offset() int64 { return t.f.header.DataStart() + int64(t.info.Begin) }

// Bytes returns the tensor's bytes in the mapped file, without a copy. They must
// not be written to nor used after Close; appending to the slice copies it.
// Where the file may be cut or its storage may fail, use them under File.Guard.
// Without a mapping the error matches ErrNotMapped.
func (t Tensor) Bytes() ([]byte, error) {
	file, err := t.f.bytes()
	if err != nil {
		return nil, err
	}
	begin, end := t.offset(), t.offset()+int64(t.info.Bytes())
	return file[begin:end:end], nil
}

// ReadInto reads the tensor into dst, which must have exactly its length in
// bytes. It reads the file, not the mapping, so that I/O trouble is an error; a
// file that was cut gives io.ErrUnexpectedEOF. ctx is looked at every 16 MiB.
func (t Tensor) ReadInto(ctx context.Context, dst []byte) error {
	if uint64(len(dst)) != t.info.Bytes() {
		return fmt.Errorf("safetensors: %s takes %d bytes, dst has %d", diag.Name(t.info.Name), t.info.Bytes(), len(dst))
	}
	const block = 16 << 20
	for off := t.offset(); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := t.f.readAt(dst[:min(block, len(dst))], off)
		if err != nil {
			return err
		}
		off, dst = off+int64(n), dst[n:]
		if len(dst) == 0 {
			return nil
		}
	}
}

// Open returns a new reader of the tensor's bytes, which reads the file, not the
// mapping. A file that was cut gives io.ErrUnexpectedEOF, a closed one ErrClosed.
func (t Tensor) Open() *io.SectionReader {
	return io.NewSectionReader(fileReader{t.f}, t.offset(), int64(t.info.Bytes()))
}

// fileReader keeps ReadAt out of File's method set.
type fileReader struct{ f *File }

func (r fileReader) ReadAt(p []byte, off int64) (int, error) { return r.f.readAt(p, off) }
