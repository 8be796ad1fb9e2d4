package safetensors

import "strings"

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

// nearDType guesses which type is meant by a name that is none of the format's.
func nearDType(name string) (DType, bool) {
	name = strings.ToUpper(strings.TrimSpace(name))
	name = strings.TrimPrefix(strings.TrimPrefix(name, "TORCH."), "NP.")
	if d, ok := ParseDType(name); ok {
		return d, true
	}
	d, ok := frameworkNames[name]
	return d, ok
}

// frameworkNames holds what torch, numpy and others call the types.
var frameworkNames = map[string]DType{
	"FLOAT": F32, "FLOAT32": F32, "DOUBLE": F64, "FLOAT64": F64, "HALF": F16, "FLOAT16": F16, "FP16": F16, "FP32": F32,
	"BFLOAT16": BF16, "B16": BF16, "INT8": I8, "CHAR": I8, "UINT8": U8, "BYTE": U8, "INT16": I16, "SHORT": I16, "UINT16": U16,
	"INT32": I32, "INT": I32, "UINT32": U32, "INT64": I64, "LONG": I64, "UINT64": U64, "BOOLEAN": BOOL, "COMPLEX64": C64,
	"FLOAT8_E4M3FN": F8_E4M3, "F8_E4M3FN": F8_E4M3, "E4M3": F8_E4M3, "FLOAT8_E5M2": F8_E5M2, "E5M2": F8_E5M2,
	"FLOAT8_E4M3FNUZ": F8_E4M3FNUZ, "FLOAT8_E5M2FNUZ": F8_E5M2FNUZ, "FLOAT8_E8M0FNU": F8_E8M0, "E8M0": F8_E8M0, "UE8M0": F8_E8M0, "UE8": F8_E8M0,
	"FLOAT4_E2M1FN_X2": F4, "F4_E2M1FN_X2": F4, "F4_E2M1": F4, "FP4": F4,
}
