package lowrank

import (
	"math"

	"github.com/x448/float16"
)

// AddBF16 sets each element w of bfloat16 to w + s*p, computed in float32 and
// rounded once at the end, or, if twice, with s*p rounded to bfloat16 before. It
// reports whether all results are finite; a NaN becomes 0x7fc0, as in torch.
func AddBF16(w []uint16, p []float32, s float32, twice bool) (finite bool) {
	p = p[:len(w)]
	n, finite := addBF16(w, p, s, twice)
	for i := n; i < len(w); i++ {
		d := float32(p[i] * s) // not to be fused
		if twice {
			d = widen(roundBF16(d))
		}
		w[i] = roundBF16(widen(w[i]) + d)
		finite = finite && w[i]&0x7f80 != 0x7f80
	}
	return finite
}

func widen(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

func roundBF16(f float32) uint16 {
	if f != f {
		return 0x7fc0
	}
	b := math.Float32bits(f)
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// AddF16 is AddBF16 for float16.
func AddF16(w []uint16, p []float32, s float32, twice bool) (finite bool) {
	finite = true
	p = p[:len(w)]
	for i, b := range w {
		d := float32(p[i] * s)
		if twice {
			d = float16.Fromfloat32(d).Float32()
		}
		w[i] = float16.Fromfloat32(float16.Frombits(b).Float32() + d).Bits()
		finite = finite && w[i]&0x7c00 != 0x7c00
	}
	return finite
}

// AddF32 is AddBF16 for float32, where there is one way only.
func AddF32(w, p []float32, s float32) (finite bool) {
	finite = true
	p = p[:len(w)]
	for i, x := range w {
		d := float32(p[i] * s)
		w[i] = x + d
		finite = finite && math.Float32bits(w[i])&0x7f800000 != 0x7f800000
	}
	return finite
}
