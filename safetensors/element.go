package safetensors

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"unsafe"

	"github.com/safeckpt/safeckpt/diag"
)

// Values is a Tensor or a Slice of one: elements that can be read in order.
type Values interface {
	// Info returns the name, dtype and shape.
	Info() TensorInfo
	// reader returns the bytes in order.
	reader() io.Reader
}

func (t Tensor) reader() io.Reader { return t.Open() }

// IsFloat reports whether the type holds floating-point numbers, complex ones
// included: whether AppendFloat32 reads it.
func (d DType) IsFloat() bool {
	switch d {
	case F4, F6_E2M3, F6_E3M2, F8_E5M2, F8_E4M3, F8_E8M0, F8_E4M3FNUZ, F8_E5M2FNUZ, F16, BF16, F32, F64, C64:
		return true
	}
	return false
}

// AppendFloat32 appends the elements of v, in row-major order. It reads every
// float dtype, on every platform and from any source: F64 is rounded, all others
// are exact, and C64 gives a real and an imaginary part for each element. For
// other dtypes the error matches ErrDType; see AppendElements.
//
// F4 is unpacked from the low half of a byte first, as torch's float4_e2m1fn_x2
// packs it. F6 is read as a little-endian stream of bits, the first element in the
// low bits of the first byte; neither the reference nor a framework says how they
// lie in a byte.
func AppendFloat32(dst []float32, v Values) ([]float32, error) {
	return appendFloats(dst, v, decodeFloat32)
}

// AppendFloat64 is AppendFloat32 for float64; all dtypes are exact.
func AppendFloat64(dst []float64, v Values) ([]float64, error) {
	return appendFloats(dst, v, decodeFloat64)
}

// Float32s iterates over the elements of v as AppendFloat32 gives them, in blocks
// of many. A block is valid until the next one. After an error, which comes with
// a nil block, the iteration ends.
func Float32s(v Values) iter.Seq2[[]float32, error] {
	return floatBlocks(v, decodeFloat32)
}

// Float64s is Float32s for float64.
func Float64s(v Values) iter.Seq2[[]float64, error] {
	return floatBlocks(v, decodeFloat64)
}

// blockElements is how many elements are read at a time: few enough for them to
// stay in the processor's cache. Blocks of every dtype are whole bytes.
const blockElements = 16 << 10

func appendFloats[T float32 | float64](dst []T, v Values, decode decoderOf[T]) ([]T, error) {
	info, n, err := floatInfo(v)
	if err != nil {
		return dst, err
	}
	if n > uint64(math.MaxInt/unsafe.Sizeof(*new(T))-uintptr(len(dst))) {
		return dst, fmt.Errorf("safetensors: the %d elements of %s do not fit into memory", n, diag.Name(info.Name))
	}
	start := len(dst)
	out := slices.Grow(dst, int(n))[:start+int(n)]
	r := floatReader[T]{r: v.reader(), dtype: info.DType, decode: decode}
	for block := range slices.Chunk(out[start:], blockElements) {
		if err := r.read(block); err != nil {
			return dst, err
		}
	}
	return out, nil
}

func floatBlocks[T float32 | float64](v Values, decode decoderOf[T]) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		info, n, err := floatInfo(v)
		if err != nil {
			yield(nil, err)
			return
		}
		r := floatReader[T]{r: v.reader(), dtype: info.DType, decode: decode}
		for block := make([]T, min(n, blockElements)); n > 0; n -= uint64(len(block)) {
			block = block[:min(n, blockElements)]
			if err := r.read(block); err != nil {
				yield(nil, err)
				return
			}
			if !yield(block, nil) {
				return
			}
		}
	}
}

// floatInfo returns the number of floats in v: for C64, two to an element.
func floatInfo(v Values) (info TensorInfo, n uint64, err error) {
	info = v.Info()
	if !info.DType.IsFloat() {
		return info, 0, fmt.Errorf("%w: %s is %s, which is no float type", ErrDType, diag.Name(info.Name), info.DType)
	}
	n = info.Elements()
	if info.DType == C64 {
		n *= 2
	}
	return info, n, nil
}

// A decoderOf decodes len(dst) floats. src may be the end of dst's own memory:
// elements must be read in order, each before it is written.
type decoderOf[T float32 | float64] func(dst []T, d DType, src []byte)

// A floatReader reads floats of one dtype.
type floatReader[T float32 | float64] struct {
	r      io.Reader
	dtype  DType
	decode decoderOf[T]
	buf    []byte // where elements are larger than T
}

// read fills dst. The bytes are read into the end of dst, where they lie in the
// processor's cache when they are decoded from there to the start.
func (f *floatReader[T]) read(dst []T) error {
	src, size := rawBytes(dst), (len(dst)*f.dtype.floatBits()+7)/8
	if size > len(src) {
		f.buf = slices.Grow(f.buf[:0], size)[:size]
		src = f.buf
	}
	src = src[len(src)-size:]
	if _, err := io.ReadFull(f.r, src); err != nil {
		return err
	}
	f.decode(dst, f.dtype, src)
	return nil
}

// AppendElements appends the elements of v, in row-major order, on every platform
// and from any source: the copying counterpart of View. T must be the Go type of
// the dtype; BOOL is read as uint8. The error matches ErrDType if it is not.
func AppendElements[T Element](dst []T, v Values) ([]T, error) {
	info := v.Info()
	if want := elementDType[T](); info.DType != want && !(info.DType == BOOL && want == U8) {
		var zero T
		return dst, fmt.Errorf("%w: %s is %s and cannot be read as %T", ErrDType, diag.Name(info.Name), info.DType, zero)
	}
	n := info.Elements()
	if n > uint64(math.MaxInt/unsafe.Sizeof(*new(T))-uintptr(len(dst))) {
		return dst, fmt.Errorf("safetensors: the %d elements of %s do not fit into memory", n, diag.Name(info.Name))
	}
	start := len(dst)
	out := slices.Grow(dst, int(n))[:start+int(n)]
	data := rawBytes(out[start:])
	if _, err := io.ReadFull(v.reader(), data); err != nil {
		return dst, err
	}
	swapElements(data, info.DType)
	return out, nil
}

// NewTensorData returns a tensor of these elements, to be written. The dtype is
// that of T, U8 for uint8; set DType for BOOL or for types of a byte and less.
// The elements must not change until they are written.
func NewTensorData[T Element](name string, shape []uint64, elements []T) TensorData {
	d := elementDType[T]()
	data := rawBytes(elements)
	if bigEndian && d.Bits() > 8 {
		data = slices.Clone(data)
		swapElements(data, d)
	}
	return TensorData{TensorInfo: TensorInfo{Name: name, DType: d, Shape: shape}, Data: bytes.NewReader(data)}
}

// rawBytes returns the memory of s.
func rawBytes[T Element](s []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(*new(T))))
}

// swapElements turns little-endian elements into this machine's, or back.
func swapElements(data []byte, d DType) {
	if bigEndian {
		reverseElements(data, d)
	}
}

func reverseElements(data []byte, d DType) {
	size := d.Bits() / 8
	if d == C64 {
		size = 4
	}
	if size < 2 {
		return
	}
	for ; len(data) >= size; data = data[size:] {
		slices.Reverse(data[:size])
	}
}
