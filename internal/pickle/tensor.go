package pickle

import (
	"fmt"
	"math"
	"math/bits"
)

// A DType is an element type of torch. The zero DType is none.
type DType uint8

// dtypes lists torch's names, element sizes in bytes and, where the safetensors
// format has the type, its name there. Quantized types come without their
// scales, which the tensors hold apart.
var dtypes = [...]struct {
	name   string
	size   int64
	header string
}{
	{},
	{"float64", 8, "F64"}, {"float32", 4, "F32"}, {"float16", 2, "F16"}, {"bfloat16", 2, "BF16"},
	{"int64", 8, "I64"}, {"int32", 4, "I32"}, {"int16", 2, "I16"}, {"int8", 1, "I8"},
	{"uint64", 8, "U64"}, {"uint32", 4, "U32"}, {"uint16", 2, "U16"}, {"uint8", 1, "U8"},
	{"bool", 1, "BOOL"}, {"complex64", 8, "C64"}, {"complex128", 16, ""}, {"complex32", 4, ""},
	{"float8_e4m3fn", 1, "F8_E4M3"}, {"float8_e5m2", 1, "F8_E5M2"}, {"float8_e8m0fnu", 1, "F8_E8M0"},
	{"float8_e4m3fnuz", 1, "F8_E4M3FNUZ"}, {"float8_e5m2fnuz", 1, "F8_E5M2FNUZ"},
	{"float4_e2m1fn_x2", 1, "F4"}, // two elements to a byte; torch counts the bytes
	{"qint8", 1, ""}, {"quint8", 1, ""}, {"qint32", 4, ""},
}

func dtypeNamed(name string) DType {
	for i, d := range dtypes {
		if d.name == name {
			return DType(i)
		}
	}
	return 0
}

// String returns torch's name, such as "bfloat16".
func (d DType) String() string { return dtypes[d].name }

// Size returns the bytes that one element takes.
func (d DType) Size() int64 { return dtypes[d].size }

// HeaderName returns the name in a safetensors header, such as "BF16", or "" if
// the format lacks the type. For F4 the last dimension counts pairs.
func (d DType) HeaderName() string { return dtypes[d].header }

// A Storage is a block of bytes that tensors are views of. It is outside the
// pickle: in a torch archive it is the member data/KEY.
type Storage struct {
	Key      string
	Location string // "cpu", "cuda:3"
	DType    DType  // uint8 for untyped storages
	Numel    int64  // elements of DType, not negative

	off  int64
	view int64 // elements of the storage that a view in an old pickle begins after
	size int64 // elements from there that belong to it
}

// Bytes returns the size of the storage.
func (s *Storage) Bytes() int64 { return s.Numel * s.DType.Size() }

// A Tensor is a strided view of a storage. It lies inside the storage: this has
// been checked, but not that the storage is as long as the pickle says.
type Tensor struct {
	DType        DType
	Storage      *Storage // tensors that share bytes share it
	Offset       int64    // of the first element in the storage, in elements of DType
	RequiresGrad bool

	dims []int64 // shape, then strides
	off  int64
}

// Shape returns the dimensions, empty for a scalar. Not to be modified.
func (t *Tensor) Shape() []int64 { return t.dims[: len(t.dims)/2 : len(t.dims)/2] }

// Strides returns the steps between neighbours in each dimension, in elements.
// Not to be modified.
func (t *Tensor) Strides() []int64 { return t.dims[len(t.dims)/2:] }

// Numel returns the number of elements, 1 for a scalar.
func (t *Tensor) Numel() int64 {
	n := int64(1)
	for _, d := range t.Shape() {
		n *= d
	}
	return n
}

// Contiguous reports whether the elements lie end to end in the order of their
// indexes, as in a safetensors file.
func (t *Tensor) Contiguous() bool {
	step := int64(1)
	shape, strides := t.Shape(), t.Strides()
	if t.Numel() == 0 {
		return true
	}
	for i := len(shape) - 1; i >= 0; i-- {
		if shape[i] != 1 && strides[i] != step {
			return false
		}
		step *= shape[i]
	}
	return true
}

// String describes the tensor: "float32 [3, 4]".
func (t *Tensor) String() string { return t.DType.String() + " " + formatInts(t.Shape()) }

func formatInts(v []int64) string {
	const most = 16
	b := []byte{'['}
	for i, x := range v {
		if i > 0 {
			b = append(b, ", "...)
		}
		if i == most {
			b = append(b, "..."...)
			break
		}
		b = fmt.Append(b, x)
	}
	return string(append(b, ']'))
}

// maxDims is torch's own limit for most operations.
const maxDims = 64

// newTensor checks that the view lies inside its storage.
func newTensor(s *Storage, dtype DType, offset int64, shape, strides []int64) (*Tensor, error) {
	if len(shape) != len(strides) {
		return nil, fmt.Errorf("tensor with %d dimensions but %d strides", len(shape), len(strides))
	}
	if len(shape) > maxDims {
		return nil, fmt.Errorf("tensor with %d dimensions", len(shape))
	}
	// Elements of dtype that the view may reach: storage and tensor types differ
	// in size if the storage is untyped.
	base, ok1 := mul(s.view, s.DType.Size())
	room, ok2 := mul(s.size, s.DType.Size())
	if !ok1 || !ok2 || base%dtype.Size() != 0 {
		return nil, fmt.Errorf("tensor of %v on a storage that does not fit it", dtype)
	}
	room /= dtype.Size()
	base /= dtype.Size()

	numel, last, fits := int64(1), offset, offset >= 0
	for i, n := range shape {
		if n < 0 || strides[i] < 0 {
			return nil, fmt.Errorf("tensor of shape %s with strides %s", formatInts(shape), formatInts(strides))
		}
		if n == 0 {
			numel = 0
		}
	}
	if numel > 0 {
		for i, n := range shape {
			var step int64
			var ok bool
			numel, ok = mul(numel, n)
			fits = fits && ok
			step, ok = mul(n-1, strides[i])
			fits = fits && ok
			last, ok = add(last, step)
			fits = fits && ok
		}
		fits = fits && last < room
	}
	bytes, ok := mul(numel, dtype.Size())
	if !fits || !ok || bytes < 0 {
		return nil, fmt.Errorf("tensor of shape %s, strides %s and offset %d does not fit in storage %s of %d elements",
			formatInts(shape), formatInts(strides), offset, printable(s.Key), room)
	}
	first, ok := add(base, offset)
	if !ok {
		return nil, fmt.Errorf("tensor at offset %d", offset)
	}
	dims := append(append(make([]int64, 0, 2*len(shape)), shape...), strides...)
	return &Tensor{DType: dtype, Storage: s, Offset: first, dims: dims}, nil
}

// mul and add work on numbers that are not negative and report overflow.
func mul(a, b int64) (int64, bool) {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	return int64(lo), hi == 0 && lo <= math.MaxInt64
}

func add(a, b int64) (int64, bool) { return a + b, a+b >= 0 }
