package safetensors

import (
	"errors"
	"fmt"
	"iter"

	"github.com/safeckpt/safeckpt/diag"
)

// A Model is the tensors of one model, in a single file or in an index and its
// shards, seen as one. Like File it is safe for concurrent use.
//
// A model with broken, missing or contradictory files still opens: Report tells
// what is wrong, and what is intact can be used.
type Model struct {
	name      string
	weightMap map[string]string
	metadata  map[string]any
	shards    []Shard
	tensors   map[string]Tensor
	report    *diag.Report
}

// A Shard is one file of a Model.
type Shard struct {
	Name string // slash-separated, relative to the model's directory
	Size int64  // in bytes; 0 if it is missing
	File *File  // nil if the file is missing, unreadable or refused
	// Header is the file's header. If the file was refused it is what could be
	// decoded, see FormatError.Header; nil if there is nothing.
	Header *Header
	Err    error // why File is nil: a *FormatError, or the error of the file system
}

// Name returns the file that stands for the model: the index, or the single file.
// It is "" if shards were found without an index.
func (m *Model) Name() string { return m.name }

// WeightMap returns the index's map of tensor names to files, nil if there is no
// usable index. It must not be modified.
func (m *Model) WeightMap() map[string]string { return m.weightMap }

// IndexMetadata returns the metadata object of the index, such as total_size (a
// json.Number), nil if there is none. It must not be modified.
func (m *Model) IndexMetadata() map[string]any { return m.metadata }

// Files returns the model's files by name, missing and refused ones included. It
// must not be modified.
func (m *Model) Files() []Shard { return m.shards }

// Report returns all problems of the index and of all files. It must not be
// added to.
func (m *Model) Report() *diag.Report { return m.report }

// Tensor returns the tensor of that name from an accepted file, or an error that
// matches ErrNoTensor. If several files hold it, the index decides, then the
// last file, as loading one after the other would.
func (m *Model) Tensor(name string) (Tensor, error) {
	t, ok := m.tensors[name]
	if !ok {
		return Tensor{}, fmt.Errorf("%w: %s", ErrNoTensor, diag.Name(name))
	}
	return t, nil
}

// All iterates over the tensors that Tensor can return, by file name and, within
// a file, in the order of their data.
func (m *Model) All() iter.Seq2[string, Tensor] {
	return func(yield func(string, Tensor) bool) {
		for i := range m.shards {
			if m.shards[i].File == nil {
				continue
			}
			for name, t := range m.shards[i].File.All() {
				if m.tensors[name].f == t.f && !yield(name, t) {
					return
				}
			}
		}
	}
}

// Infos iterates over what the headers say of every tensor, those of files that
// were refused included, by file name and offset. A name that several files
// hold comes several times.
func (m *Model) Infos() iter.Seq2[*Shard, *TensorInfo] {
	return func(yield func(*Shard, *TensorInfo) bool) {
		for i := range m.shards {
			s := &m.shards[i]
			if s.Header == nil {
				continue
			}
			for j := range s.Header.Tensors {
				if !yield(s, &s.Header.Tensors[j]) {
					return
				}
			}
		}
	}
}

// Close closes all files. Closing twice is no error.
func (m *Model) Close() error {
	var errs []error
	for i := range m.shards {
		if m.shards[i].File != nil {
			errs = append(errs, m.shards[i].File.Close())
		}
	}
	return errors.Join(errs...)
}
