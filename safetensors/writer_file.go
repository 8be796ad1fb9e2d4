package safetensors

import (
	"context"
	"fmt"
	"io"

	"github.com/safeckpt/safeckpt/diag"
)

// TensorData is a tensor with its data, to be written. Begin and End are not
// used.
type TensorData struct {
	TensorInfo
	// Data yields exactly the tensor's bytes, little-endian and row-major: a
	// bytes.Reader, or Tensor.Open of a file that is being copied. Nil is empty.
	Data io.Reader
}

// WriteFile writes a file of these tensors; see NewWriter for the order, what is
// refused, and metadata. Data is read once, in the order of the file.
func WriteFile(ctx context.Context, name string, tensors []TensorData, metadata map[string]string, opts *WriterOptions) error {
	infos := make([]TensorInfo, len(tensors))
	data := make(map[string]io.Reader, len(tensors))
	for i, t := range tensors {
		infos[i] = t.TensorInfo
		data[t.Name] = t.Data
	}
	w, err := NewWriter(name, infos, metadata, opts)
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, t := range w.Tensors() {
		if err := w.tensors[t.Name].readAll(ctx, data[t.Name]); err != nil {
			return err
		}
	}
	return w.Commit()
}

// readAll appends r, which must end where the tensor does.
func (t *TensorWriter) readAll(ctx context.Context, r io.Reader) error {
	if r != nil {
		if _, err := t.readFrom(ctx, r); err != nil {
			return err
		}
	}
	if n := t.Written(); n != t.size {
		return fmt.Errorf("safetensors: tensor %s: the data ends after %d of %d bytes", diag.Name(t.name), n, t.size)
	}
	return nil
}
