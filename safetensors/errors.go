package safetensors

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/safeckpt/safeckpt/diag"
)

var (
	// ErrFormat is matched by every *FormatError.
	ErrFormat = errors.New("safetensors: not a valid safetensors file")
	// ErrClosed is returned by everything that needs the file after Close. It
	// matches fs.ErrClosed.
	ErrClosed = fmt.Errorf("safetensors: %w", fs.ErrClosed)
	// ErrNoTensor means that there is no tensor of that name.
	ErrNoTensor = errors.New("safetensors: no such tensor")
	// ErrNotMapped means that there is no zero-copy access to the tensor: the
	// source is no file of the operating system, OpenOptions.NoMap was set, or the
	// file cannot be mapped here. Tensor.ReadInto and Tensor.Open still work.
	ErrNotMapped = errors.New("safetensors: not memory-mapped")
	// ErrMisaligned means that a tensor does not start on a multiple of its
	// element's alignment, so that View cannot give it without a copy.
	ErrMisaligned = errors.New("safetensors: tensor is not aligned")
	// ErrByteOrder means that this machine is big-endian and the element has more
	// than one byte, so that View cannot give it without a copy.
	ErrByteOrder = errors.New("safetensors: tensor data is little-endian, this machine is not")
	// ErrDType means that the tensor's dtype is not the one that was asked for.
	ErrDType = errors.New("safetensors: wrong dtype")
)

// A FormatError says everything that is wrong with a file that was refused. It
// matches ErrFormat and each diag.Code of its report:
//
//	if errors.Is(err, diag.FileTruncated) { ... }
type FormatError struct {
	// Report holds all problems, warnings included.
	Report *diag.Report
	// Header holds what could be decoded, for diagnosis; nil if nothing could. Its
	// tensors may overlap, lie outside of the file or have impossible shapes
	// (Elements may overflow), and those that could not be decoded are absent.
	Header *Header
	// Size is the size of the file in bytes.
	Size int64
}

// Error returns the worst problem, its fix and how many more there are.
func (e *FormatError) Error() string { return "safetensors: " + e.Report.Summary() }

// Is reports whether target is ErrFormat or the code of a problem in the report.
func (e *FormatError) Is(target error) bool {
	code, ok := target.(diag.Code)
	return target == ErrFormat || ok && e.Report.Has(code)
}

// A FaultError says that the mapping of a file could not be read at Offset:
// the file was cut after it was opened, or its storage failed.
type FaultError struct {
	Name   string
	Offset int64 // absolute, in bytes; of the fault, not always the first bad byte
	Err    error // the runtime's
}

func (e *FaultError) Error() string {
	return fmt.Sprintf("safetensors: %s, byte %d: the mapped file cannot be read here any more: it was cut, or its storage failed", diag.Name(e.Name), e.Offset)
}

// Unwrap returns the fault that the runtime reported.
func (e *FaultError) Unwrap() error { return e.Err }
