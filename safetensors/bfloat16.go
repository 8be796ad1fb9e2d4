package safetensors

import "math"

// A BFloat16 is a bfloat16 as it stands in memory: the upper half of a float32.
// It is the element type of BF16 views.
type BFloat16 uint16

// BFloat16FromFloat32 rounds f to the nearest bfloat16, ties to even, as torch
// does. Values beyond the largest finite one become infinite; a NaN stays one.
func BFloat16FromFloat32(f float32) BFloat16 {
	b := math.Float32bits(f)
	if f != f {
		return BFloat16(b>>16 | 0x0040) // keep it a NaN when its low bits go
	}
	return BFloat16((b + 0x7fff + b>>16&1) >> 16)
}

// Float32 returns the value, exactly.
func (b BFloat16) Float32() float32 { return math.Float32frombits(uint32(b) << 16) }
