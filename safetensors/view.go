package safetensors

import (
	"fmt"
	"unsafe"

	"github.com/x448/float16"

	"github.com/safeckpt/safeckpt/diag"
)

// Element lists the Go types that tensors can be viewed as.
type Element interface {
	uint8 | int8 | uint16 | int16 | uint32 | int32 | uint64 | int64 |
		float16.Float16 | BFloat16 | float32 | float64 | complex64
}

// View returns the elements of t in the mapped file, without a copy. The rules of
// Tensor.Bytes hold for the slice. T must be the Go type of the tensor's dtype;
// BOOL is viewed as uint8, because a byte other than 0 and 1 is no valid bool.
//
// The error matches ErrDType, ErrMisaligned, ErrByteOrder (on big-endian machines
// for elements of several bytes), ErrNotMapped or ErrClosed. AppendFloat32 reads
// every float dtype wherever View cannot.
func View[T Element](t Tensor) ([]T, error) {
	want := elementDType[T]()
	if d := t.info.DType; d != want && !(d == BOOL && want == U8) {
		var zero T
		return nil, fmt.Errorf("%w: %s is %s and cannot be viewed as %T", ErrDType, diag.Name(t.info.Name), d, zero)
	}
	size := unsafe.Sizeof(*new(T))
	if size > 1 && bigEndian {
		return nil, ErrByteOrder
	}
	data, err := t.Bytes()
	if err != nil {
		return nil, err
	}
	first := unsafe.Pointer(unsafe.SliceData(data))
	// Checked here: checkptr keeps quiet about elements without pointers.
	if uintptr(first)%unsafe.Alignof(*new(T)) != 0 {
		return nil, fmt.Errorf("%w: the data of %s starts at byte %d of the file, %s needs a multiple of %d",
			ErrMisaligned, diag.Name(t.info.Name), t.offset(), t.info.DType, unsafe.Alignof(*new(T)))
	}
	n := len(data) / int(size)
	return unsafe.Slice((*T)(first), n)[:n:n], nil
}

var bigEndian = func() bool {
	x := uint16(1)
	return *(*byte)(unsafe.Pointer(&x)) == 0
}()

func elementDType[T Element]() DType {
	switch any(*new(T)).(type) {
	case uint8:
		return U8
	case int8:
		return I8
	case uint16:
		return U16
	case int16:
		return I16
	case uint32:
		return U32
	case int32:
		return I32
	case uint64:
		return U64
	case int64:
		return I64
	case float16.Float16:
		return F16
	case BFloat16:
		return BF16
	case float32:
		return F32
	case float64:
		return F64
	case complex64:
		return C64
	}
	return 0
}
