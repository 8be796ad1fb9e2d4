package lowrank

import "math"

// FMA returns x*y + z, rounded once. math.FMA followed by a conversion to float32
// would round twice.
//
// The product of two float32 is exact in float64. So only the sum is rounded,
// and then rounded again to float32. That goes wrong where the first rounding
// hits the middle between two float32; there the sum is rounded to odd instead
// (S. Boldo, G. Melquiond: Emulation of FMA and Correctly Rounded Sums), after
// which the second rounding is right.
func FMA(x, y, z float32) float32 {
	p, c := float64(x)*float64(y), float64(z)
	s := p + c
	b := math.Float64bits(s)
	// The 29 bits that float32 does not have are those of a middle, or there are
	// more of them because the result is subnormal.
	if b&(1<<29-1) == 1<<28 || b&^(1<<63) < smallestNormal {
		return float32(roundToOdd(p, c, s))
	}
	return float32(s)
}

const smallestNormal = (1023 - 126) << 52 // of float32, as bits of a float64

// roundToOdd returns p+c rounded to odd, given that s is p+c rounded to nearest.
func roundToOdd(p, c, s float64) float64 {
	// What s lacks (Knuth, TwoSum). No sum here is fused: none follows a product.
	t := s - p
	rest := (p - (s - t)) + (c - t)
	b := math.Float64bits(s)
	if rest == 0 || rest != rest || b&1 == 1 {
		return s
	}
	if (rest > 0) == (s > 0) {
		return math.Float64frombits(b + 1)
	}
	return math.Float64frombits(b - 1)
}
