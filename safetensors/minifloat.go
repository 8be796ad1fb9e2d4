package safetensors

import "math"

// A minifloat describes a float type of at most 8 bits: sign, exponent,
// mantissa, from the high bits down. All of them have subnormals.
type minifloat struct {
	bits, mantissa int
	bias           int
	max            uint8 // the largest finite magnitude; codes above it are special
	overflow       uint8 // what larger magnitudes become when encoded
	nan            uint8 // what a NaN becomes when encoded, if hasNaN
	hasNaN         bool
	inf            uint8 // the magnitude of infinity, 0 if there is none
	unsignedZero   bool  // FNUZ: the code of -0 is the only NaN
}

// The types of 4, 6 and 8 bits, and what overflows become. Values are those of
// ml_dtypes 0.6.0 and torch 2.15; encoding follows torch where it has the type,
// else ml_dtypes. torch 2.15 saturates F8_E4M3, infinities included; ml_dtypes
// and earlier versions of torch make them NaN.
var (
	f4e2m1     = minifloat{bits: 4, mantissa: 1, bias: 1, max: 0x07, overflow: 0x07}
	f6e2m3     = minifloat{bits: 6, mantissa: 3, bias: 1, max: 0x1f, overflow: 0x1f}
	f6e3m2     = minifloat{bits: 6, mantissa: 2, bias: 3, max: 0x1f, overflow: 0x1f}
	f8e4m3     = minifloat{bits: 8, mantissa: 3, bias: 7, max: 0x7e, overflow: 0x7e, hasNaN: true, nan: 0x7f}
	f8e5m2     = minifloat{bits: 8, mantissa: 2, bias: 15, max: 0x7b, overflow: 0x7c, hasNaN: true, nan: 0x7f, inf: 0x7c}
	f8e4m3fnuz = minifloat{bits: 8, mantissa: 3, bias: 8, max: 0x7f, overflow: 0x80, hasNaN: true, nan: 0x80, unsignedZero: true}
	f8e5m2fnuz = minifloat{bits: 8, mantissa: 2, bias: 16, max: 0x7f, overflow: 0x80, hasNaN: true, nan: 0x80, unsignedZero: true}
)

// A minifloatTable holds the value of every code.
type minifloatTable [256]float32

var (
	f4e2m1Values     = f4e2m1.table()
	f6e2m3Values     = f6e2m3.table()
	f6e3m2Values     = f6e3m2.table()
	f8e4m3Values     = f8e4m3.table()
	f8e5m2Values     = f8e5m2.table()
	f8e4m3fnuzValues = f8e4m3fnuz.table()
	f8e5m2fnuzValues = f8e5m2fnuz.table()
)

func (m *minifloat) table() *minifloatTable {
	var t minifloatTable
	for code := range 1 << m.bits {
		t[code] = m.decode(uint8(code))
	}
	return &t
}

func (m *minifloat) decode(code uint8) float32 {
	sign := uint8(1) << (m.bits - 1)
	magnitude := code & (sign - 1)
	switch {
	case m.unsignedZero && code == sign:
		return float32(math.NaN())
	case m.inf != 0 && magnitude == m.inf:
		return float32(math.Inf(1 - 2*int(code/sign)))
	case magnitude > m.max:
		return float32(math.NaN())
	}
	exponent, fraction := int(magnitude>>m.mantissa), int(magnitude)&(1<<m.mantissa-1)
	if exponent == 0 {
		exponent = 1 // subnormal
	} else {
		fraction |= 1 << m.mantissa
	}
	v := float32(math.Ldexp(float64(fraction), exponent-m.bias-m.mantissa))
	if code&sign != 0 {
		return -v
	}
	return v
}

// encode rounds to nearest, ties to even. For a type without NaN the caller has
// refused NaNs.
func (m *minifloat) encode(f float32) uint8 {
	if f != f {
		return m.nan
	}
	bits := math.Float32bits(f)
	sign := uint8(bits>>31) << (m.bits - 1)
	// A float32 that is subnormal itself is far below half of the least value.
	exponent := int(bits>>23&0xff) - 127
	fraction := bits&(1<<23-1) | 1<<23

	drop := 23 - m.mantissa // low bits of fraction that do not fit
	biased := exponent + m.bias
	if biased < 1 {
		drop, biased = drop+1-biased, 1
	}
	magnitude := 0
	if drop <= 24 {
		half := uint32(1) << (drop - 1)
		rounded := (fraction + half - 1 + fraction>>drop&1) >> drop
		// The leading one of a normal number counts as one step of the exponent, and
		// so does a carry.
		magnitude = int(rounded) + (biased-1)<<m.mantissa
	}
	switch {
	case magnitude > int(m.max) && m.unsignedZero:
		return m.overflow
	case magnitude > int(m.max):
		magnitude = int(m.overflow)
	case magnitude == 0 && m.unsignedZero:
		return 0
	}
	return sign | uint8(magnitude)
}

// e8m0Values holds the values of F8_E8M0, a scale: a power of two from 2^-127 to
// 2^127, 0xff for NaN, with neither sign nor zero.
var e8m0Values = func() *minifloatTable {
	var t minifloatTable
	for code := range 0xff {
		t[code] = float32(math.Ldexp(1, code-127))
	}
	t[0xff] = float32(math.NaN())
	return &t
}()

// encodeE8M0 rounds the magnitude to the nearest power of two, from halfway up
// to the larger. As in torch 2.15 the sign is dropped, zero becomes 2^-127, what is
// too large becomes NaN, and all that lies between 2^-127 and 2^-126 goes up.
func encodeE8M0(f float32) uint8 {
	bits := math.Float32bits(f) &^ (1 << 31)
	code := uint8(bits >> 23)
	if code == 0xff {
		return code
	}
	if code > 0 && bits&(1<<22) != 0 || code == 0 && bits > 1<<22 {
		code++
	}
	return code
}
