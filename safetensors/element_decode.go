package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/x448/float16"
)

// DecodeFloat32 appends the elements of a float dtype that src holds, as they stand
// in a file: the inverse of EncodeFloat32. src must be whole elements. For dtypes
// that are no floats the error matches ErrDType.
func DecodeFloat32(dst []float32, d DType, src []byte) ([]float32, error) {
	if !d.IsFloat() {
		return dst, fmt.Errorf("%w: %s is no float type", ErrDType, d)
	}
	bits := d.floatBits()
	n := len(src) / bits * 8 // without overflow on 32 bits
	n += len(src) % bits * 8 / bits
	start := len(dst)
	dst = slices.Grow(dst, n)[:start+n]
	decodeFloat32(dst[start:], d, src)
	return dst, nil
}

// floatBits returns the bits of one float: for C64, one of the two of an element.
func (d DType) floatBits() int {
	if d == C64 {
		return 32
	}
	return d.Bits()
}

// decodeFloat32 is a decoderOf[float32].
func decodeFloat32(dst []float32, d DType, src []byte) {
	switch d {
	case F32, C64:
		raw := rawBytes(dst)
		swapElements(raw[:copy(raw, src)], d)
	case BF16:
		decodeBF16(dst, src)
	case F16:
		decodeF16(dst, src)
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
		}
	case F8_E8M0:
		decodeBytes(dst, src, e8m0Values)
	case F8_E4M3:
		decodeBytes(dst, src, f8e4m3Values)
	case F8_E5M2:
		decodeBytes(dst, src, f8e5m2Values)
	case F8_E4M3FNUZ:
		decodeBytes(dst, src, f8e4m3fnuzValues)
	case F8_E5M2FNUZ:
		decodeBytes(dst, src, f8e5m2fnuzValues)
	case F6_E2M3:
		decodeSixBits(dst, src, f6e2m3Values)
	case F6_E3M2:
		decodeSixBits(dst, src, f6e3m2Values)
	case F4:
		decodeNibbles(dst, src, f4e2m1Values)
	}
}

// decodeFloat64 is decodeFloat32 for float64.
func decodeFloat64(dst []float64, d DType, src []byte) {
	if d == F64 {
		for i := range dst {
			dst[i] = math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:]))
		}
		return
	}
	bits := d.floatBits()
	// In pieces of a fixed size, so that the floats in between need no memory.
	var piece [512]float32
	for len(dst) > 0 {
		n := min(len(dst), len(piece))
		decodeFloat32(piece[:n], d, src)
		for i, f := range piece[:n] {
			dst[i] = float64(f)
		}
		dst, src = dst[n:], src[(n*bits+7)/8:]
	}
}

func decodeBF16(dst []float32, src []byte) {
	n := widenBF16(dst, src)
	shiftBF16(dst[n:], src[2*n:])
}

// shiftBF16 takes eight elements at a time, to spend the processor's time on them
// and not on the loop.
func shiftBF16(dst []float32, src []byte) {
	for len(dst) >= 8 && len(src) >= 16 {
		d, s := (*[8]float32)(dst), (*[16]byte)(src)
		v := binary.LittleEndian.Uint64(s[:8])
		w := binary.LittleEndian.Uint64(s[8:])
		d[0] = math.Float32frombits(uint32(v) << 16)
		d[1] = math.Float32frombits(uint32(v) & 0xffff0000)
		d[2] = math.Float32frombits(uint32(v>>32) << 16)
		d[3] = math.Float32frombits(uint32(v>>32) & 0xffff0000)
		d[4] = math.Float32frombits(uint32(w) << 16)
		d[5] = math.Float32frombits(uint32(w) & 0xffff0000)
		d[6] = math.Float32frombits(uint32(w>>32) << 16)
		d[7] = math.Float32frombits(uint32(w>>32) & 0xffff0000)
		dst, src = dst[8:], src[16:]
	}
	for i := range dst {
		dst[i] = BFloat16(binary.LittleEndian.Uint16(src[2*i:])).Float32()
	}
}

// f16Values holds the value of every F16: 256 KiB, made when first needed, for
// processors that do not convert them. A look-up is faster than shifting and
// correcting for subnormals, infinities and NaN, however many bits are shifted at
// a time.
var f16Values = sync.OnceValue(func() *[1 << 16]float32 {
	values := new([1 << 16]float32)
	for i := range values {
		values[i] = float16.Frombits(uint16(i)).Float32()
	}
	return values
})

func decodeF16(dst []float32, src []byte) {
	if n := widenF16(dst, src); n < len(dst) {
		lookUpF16(dst[n:], src[2*n:])
	}
}

// lookUpF16 takes eight elements at a time, as shiftBF16 does.
func lookUpF16(dst []float32, src []byte) {
	values := f16Values()
	for len(dst) >= 8 && len(src) >= 16 {
		d, s := (*[8]float32)(dst), (*[16]byte)(src)
		v := binary.LittleEndian.Uint64(s[:8])
		w := binary.LittleEndian.Uint64(s[8:])
		d[0] = values[uint16(v)]
		d[1] = values[uint16(v>>16)]
		d[2] = values[uint16(v>>32)]
		d[3] = values[uint16(v>>48)]
		d[4] = values[uint16(w)]
		d[5] = values[uint16(w>>16)]
		d[6] = values[uint16(w>>32)]
		d[7] = values[uint16(w>>48)]
		dst, src = dst[8:], src[16:]
	}
	for i := range dst {
		dst[i] = values[binary.LittleEndian.Uint16(src[2*i:])]
	}
}

func decodeBytes(dst []float32, src []byte, values *minifloatTable) {
	for i, c := range src[:len(dst)] {
		dst[i] = values[c]
	}
}

func decodeNibbles(dst []float32, src []byte, values *minifloatTable) {
	for i := range dst {
		dst[i] = values[src[i/2]>>(i%2*4)&0xf]
	}
}

func decodeSixBits(dst []float32, src []byte, values *minifloatTable) {
	for i := range dst {
		at := 6 * i
		w := uint(src[at/8])
		if at%8 > 2 {
			w |= uint(src[at/8+1]) << 8
		}
		dst[i] = values[w>>(at%8)&0x3f]
	}
}
