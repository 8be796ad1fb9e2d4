package safetensors

// DType is the element type of a tensor. The order is the reference's: by size,
// which is also the order in which the reference writer lays tensors out
// (largest first). Follows safetensors 0.8.0 (Rust), tensor.rs, enum Dtype.
type DType uint8

// The 22 element types of the format. The zero DType is none of them.
const (
	BOOL DType = 1 + iota
	F4         // E2M1, two to a byte
	F6_E2M3
	F6_E3M2
	U8
	I8
	F8_E5M2
	F8_E4M3
	F8_E8M0
	F8_E4M3FNUZ
	F8_E5M2FNUZ
	I16
	U16
	F16
	BF16
	I32
	U32
	F32
	C64 // two float32: real, imaginary
	F64
	I64
	U64

	dtypeEnd
)

var dtypes = [dtypeEnd]struct {
	name string
	bits uint8
}{
	BOOL:        {"BOOL", 8},
	F4:          {"F4", 4},
	F6_E2M3:     {"F6_E2M3", 6},
	F6_E3M2:     {"F6_E3M2", 6},
	U8:          {"U8", 8},
	I8:          {"I8", 8},
	F8_E5M2:     {"F8_E5M2", 8},
	F8_E4M3:     {"F8_E4M3", 8},
	F8_E8M0:     {"F8_E8M0", 8},
	F8_E4M3FNUZ: {"F8_E4M3FNUZ", 8},
	F8_E5M2FNUZ: {"F8_E5M2FNUZ", 8},
	I16:         {"I16", 16},
	U16:         {"U16", 16},
	F16:         {"F16", 16},
	BF16:        {"BF16", 16},
	I32:         {"I32", 32},
	U32:         {"U32", 32},
	F32:         {"F32", 32},
	C64:         {"C64", 64},
	F64:         {"F64", 64},
	I64:         {"I64", 64},
	U64:         {"U64", 64},
}

// ParseDType returns the type that a header names, such as "BF16".
func ParseDType(name string) (DType, bool) {
	for d := DType(1); d < dtypeEnd; d++ {
		if dtypes[d].name == name {
			return d, true
		}
	}
	return 0, false
}

// String returns the type's name in a header, or "" for the zero DType.
func (d DType) String() string {
	if d >= dtypeEnd {
		return ""
	}
	return dtypes[d].name
}

// Bits returns the size of one element in bits: 4, 6, 8, 16, 32 or 64.
func (d DType) Bits() int {
	if d >= dtypeEnd {
		return 0
	}
	return int(dtypes[d].bits)
}
