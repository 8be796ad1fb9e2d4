package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/x448/float16"
)

// ErrNaN means that a NaN was to be encoded in a type that has none.
var ErrNaN = errors.New("safetensors: the type has no NaN")

// EncodeFloat32 appends src to dst as elements of a float dtype, as they stand in
// a file; see AppendFloat32 for how F4 and F6 are packed and C64 is laid out.
// Values are rounded to nearest, ties to even. What is too large becomes
//
//   - infinite in F16, BF16 and F8_E5M2;
//   - NaN in F8_E4M3FNUZ, F8_E5M2FNUZ and F8_E8M0, infinities included;
//   - the largest finite value in F8_E4M3, F6 and F4, infinities included.
//
// F8_E8M0 has neither sign nor zero nor even: the sign is dropped, zero becomes
// 2^-127, and ties go to the larger power. All this is what torch 2.15 does, and
// ml_dtypes 0.6.0 for F6 and F4, which torch cannot encode; but a NaN in F6 or
// F4, which ml_dtypes makes -0, gives ErrNaN. Other dtypes give ErrDType.
func EncodeFloat32(dst []byte, d DType, src []float32) ([]byte, error) {
	switch d {
	case F32, C64:
		if d == C64 && len(src)%2 != 0 {
			return dst, fmt.Errorf("safetensors: %d numbers are no whole C64 elements", len(src))
		}
		dst, out := grow(dst, 4*len(src))
		copy(out, rawBytes(src))
		swapElements(out, d)
		return dst, nil
	case F64:
		dst, out := grow(dst, 8*len(src))
		for i, f := range src {
			binary.LittleEndian.PutUint64(out[8*i:], math.Float64bits(float64(f)))
		}
		return dst, nil
	case F16:
		dst, out := grow(dst, 2*len(src))
		encodeF16(out, src)
		return dst, nil
	case BF16:
		dst, out := grow(dst, 2*len(src))
		encodeBF16(out, src)
		return dst, nil
	case F8_E8M0:
		for _, f := range src {
			dst = append(dst, encodeE8M0(f))
		}
		return dst, nil
	case F8_E4M3:
		return f8e4m3.appendAll(dst, src)
	case F8_E5M2:
		return f8e5m2.appendAll(dst, src)
	case F8_E4M3FNUZ:
		return f8e4m3fnuz.appendAll(dst, src)
	case F8_E5M2FNUZ:
		return f8e5m2fnuz.appendAll(dst, src)
	case F6_E2M3:
		return f6e2m3.appendAll(dst, src)
	case F6_E3M2:
		return f6e3m2.appendAll(dst, src)
	case F4:
		return f4e2m1.appendAll(dst, src)
	}
	return dst, fmt.Errorf("%w: floats cannot be written as %s", ErrDType, d)
}

// grow appends n bytes to dst and returns the whole and these, which are not set.
func grow(dst []byte, n int) (whole, added []byte) {
	whole = slices.Grow(dst, n)[:len(dst)+n]
	return whole, whole[len(dst):]
}

func encodeF16(dst []byte, src []float32) {
	n := narrowF16(dst, src)
	roundF16(dst[2*n:], src[n:])
}

func roundF16(dst []byte, src []float32) {
	for i, f := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], float16.Fromfloat32(f).Bits())
	}
}

func encodeBF16(dst []byte, src []float32) {
	n := narrowBF16(dst, src)
	roundBF16(dst[2*n:], src[n:])
}

func roundBF16(dst []byte, src []float32) {
	for i, f := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], uint16(BFloat16FromFloat32(f)))
	}
}

// appendAll packs elements from the low bits of a byte up.
func (m *minifloat) appendAll(dst []byte, src []float32) ([]byte, error) {
	if len(src)*m.bits%8 != 0 {
		return dst, fmt.Errorf("safetensors: %d elements of %d bits do not end on a byte", len(src), m.bits)
	}
	out, pending, bits := dst, uint(0), 0
	for i, f := range src {
		if f != f && !m.hasNaN {
			return dst, fmt.Errorf("%w (element %d)", ErrNaN, i)
		}
		pending |= uint(m.encode(f)) << bits
		for bits += m.bits; bits >= 8; bits -= 8 {
			out = append(out, byte(pending))
			pending >>= 8
		}
	}
	return out, nil
}
