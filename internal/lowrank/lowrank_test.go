package lowrank

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

var bits = math.Float32frombits

// values are those that rounding goes wrong at first.
var values = []float32{0, bits(1 << 31), 1, -1, bits(1), bits(1<<31 | 1), bits(0x007fffff), bits(0x00800000), bits(0x00800001),
	math.MaxFloat32, -math.MaxFloat32, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()),
	1 + 1.0/(1<<23), 1 - 1.0/(1<<24), 1.0 / (1 << 24), bits(0x33800001), bits(0xb3800001), 3, 0x1p-75, -0x1p-75, 0x1.000002p-75, 0x1.8p-126, 0x1p100}

// random fills out with floats of all exponents, or of few, which makes ties likely.
func random(r *rand.Rand, out []float32) {
	wide := r.IntN(2) == 0
	for i := range out {
		b := r.Uint32()
		switch {
		case r.IntN(64) == 0:
			out[i] = values[r.IntN(len(values))]
			continue
		case !wide:
			b = b&0x807fffff | uint32(120+r.IntN(14))<<23
		}
		if r.IntN(2) == 0 {
			b &^= 0xfff
		}
		out[i] = bits(b)
	}
}

// exactFMA rounds the exact sum with math/big.
func exactFMA(x, y, z float32) float32 {
	sum := new(big.Float).SetPrec(2000)
	sum.Add(new(big.Float).SetPrec(2000).Mul(big.NewFloat(float64(x)), big.NewFloat(float64(y))), big.NewFloat(float64(z)))
	f, _ := sum.Float32()
	return f
}

func isFinite(f float32) bool { return f-f == 0 }

func same(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

func TestFMA(t *testing.T) {
	check := func(x, y, z float32) {
		got := FMA(x, y, z)
		if !isFinite(x) || !isFinite(y) || !isFinite(z) {
			want := float32(float64(x)*float64(y) + float64(z))
			require.True(t, same(want, got), "%b*%b + %b is %b, want %b", x, y, z, got, want)
			return
		}
		want := exactFMA(x, y, z)
		if want == 0 {
			require.Zero(t, got)
			return
		}
		require.True(t, same(want, got), "%b*%b + %b is %b, want %b", x, y, z, got, want)
	}
	for _, x := range values {
		for _, y := range values {
			for _, z := range values {
				check(x, y, z)
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	twice := 0
	var v [3]float32
	for range 200_000 {
		random(r, v[:])
		check(v[0], v[1], v[2])
		if once := FMA(v[0], v[1], v[2]); !same(once, float32(float64(v[0])*float64(v[1])+float64(v[2]))) {
			twice++
		}
	}
	require.NotZero(t, twice, "no case was tried in which rounding twice is wrong")
}

// TestProductTwins compares what runs here with the Go code, bit by bit.
func TestProductTwins(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		rows, n := 1+r.IntN(5), 1+r.IntN(40)
		stride := n + r.IntN(3)
		left, right := make([]float32, rows*stride), make([]float32, n*Panel)
		random(r, left)
		random(r, right)
		got, want := make([]float32, rows*Panel), make([]float32, rows*Panel)
		product(got, left, right, rows, n, stride)
		productGo(want, left, right, rows, n, stride)
		for i := range got {
			require.True(t, same(want[i], got[i]), "element %d is %b, want %b", i, got[i], want[i])
		}
	}
}

func TestAddBF16Twins(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 2000 {
		n := r.IntN(70)
		p, w := make([]float32, n), make([]uint16, n)
		random(r, p)
		for j := range w {
			if w[j] = uint16(r.Uint32()); i%2 == 0 {
				w[j] = w[j]&0x807f | uint16(120+r.IntN(14))<<7
			}
		}
		s, twice := values[r.IntN(len(values))], r.IntN(2) == 0
		want, wantFinite := make([]uint16, n), true
		for j := range want { // one at a time, so that no vectors are used
			one := []uint16{w[j]}
			wantFinite = AddBF16(one, p[j:j+1], s, twice) && wantFinite
			want[j] = one[0]
		}
		finite := AddBF16(w, p, s, twice)
		require.Equal(t, want, w)
		require.Equal(t, wantFinite, finite)
	}
}

// TestMultiply holds panels, packing and the blocks of long ranks against the
// definition.
func TestMultiply(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, rank := range []int{0, 1, 2, 8, 191, 192, 193, 256, 383, 384, 385, 600} {
		rows, cols := 3, 70
		left, right := make([]float32, rows*rank), make([]float32, rank*cols)
		for i := range left {
			left[i] = r.Float32() - 0.5
		}
		for i := range right {
			right[i] = r.Float32() - 0.5
		}
		a, b := NewRight(rank, cols), NewRight(rank, cols)
		for k := range rank {
			a.SetRow(k, right[k*cols:][:cols])
			for i := range cols {
				b.Set(k, i, right[k*cols+i])
			}
		}
		require.Equal(t, a, b)
		require.Equal(t, 2, a.Panels())
		var ends []int // of the terms that share an accumulator
		switch {
		case rank > 192 && rank < 384:
			ends = []int{(rank + 1) / 2, rank}
		default:
			for end := 192; end < rank; end += 192 {
				ends = append(ends, end)
			}
			ends = append(ends, rank)
		}
		for panel := range 2 {
			got := make([]float32, rows*Panel)
			Multiply(got, left, a, panel, make([]float32, rows*Panel))
			for i := range rows {
				for j := range Panel {
					want, from := float32(0), 0
					for _, end := range ends {
						acc := float32(0)
						for k := from; k < end; k++ {
							if c := panel*Panel + j; c < cols {
								acc = exactFMA(left[i*rank+k], right[k*cols+c], acc)
							}
						}
						if from == 0 {
							want = acc
						} else {
							want += acc
						}
						from = end
					}
					require.Equal(t, want, got[i*Panel+j], "rank %d, row %d, column %d", rank, i, panel*Panel+j)
				}
			}
		}
	}
}

func TestSeparate(t *testing.T) {
	right := NewRight(2, 1)
	x := float32(1 + 0x1p-23)
	right.SetRow(0, []float32{1})
	right.SetRow(1, []float32{x})
	dst := make([]float32, Panel)
	Multiply(dst, []float32{-1, x}, right, 0, nil) // -1 + x*x, of which the last bit is lost when it is rounded
	require.Equal(t, float32(0x1p-22+0x1p-46), dst[0])
	right.Separate = true
	Multiply(dst, []float32{-1, x}, right, 0, nil)
	require.Equal(t, float32(0x1p-22), dst[0])
	require.True(t, Small(3, 100) && Small(100, 11) && !Small(4, 12))
}

func TestAddRounds(t *testing.T) {
	w := []uint16{0x3f80} // 1
	require.True(t, AddBF16(w, []float32{1}, 0x1p-8, false))
	require.Equal(t, uint16(0x3f80), w[0], "a tie goes to even")
	w[0] = 0x3f81
	require.True(t, AddBF16(w, []float32{1}, 0x1p-8, false))
	require.Equal(t, uint16(0x3f82), w[0])
	// 1 + 1/256 + a little: the little is lost if s*p is rounded first.
	little := float32(0x1p-8 + 0x1p-20)
	once, twice := []uint16{0x3f80}, []uint16{0x3f80}
	AddBF16(once, []float32{little}, 1, false)
	AddBF16(twice, []float32{little}, 1, true)
	require.Equal(t, []uint16{0x3f81, 0x3f80}, append(once, twice...))
	half := []uint16{0x7bff} // 65504, the largest float16
	require.False(t, AddF16(half, []float32{40}, 1, false))
	require.Equal(t, uint16(0x7c00), half[0])
	half[0] = 0x3c00
	require.True(t, AddF16(half, []float32{0x1p-11 + 0x1p-24}, 1, true))
	require.Equal(t, uint16(0x3c00), half[0])
	require.True(t, AddF16(half, []float32{0x1p-11 + 0x1p-20}, 1, false))
	require.Equal(t, uint16(0x3c01), half[0])
	f := []float32{1, math.MaxFloat32}
	require.False(t, AddF32(f, []float32{2, math.MaxFloat32}, 0.5))
	require.Equal(t, []float32{2, float32(math.Inf(1))}, f)
}

func BenchmarkMultiply(b *testing.B) {
	const rank, rows, cols = 16, 64, 2048
	left, right := make([]float32, rank*rows), NewRight(rank, cols)
	for i := range left {
		left[i] = float32(i%7) - 3.25
	}
	for k := range rank {
		for i := range cols {
			right.Set(k, i, float32(i%5)-1.75)
		}
	}
	dst := make([]float32, rows*Panel)
	b.SetBytes(rows * cols * 2)
	for b.Loop() {
		for p := range right.Panels() {
			Multiply(dst, left, right, p, nil)
		}
	}
}

func BenchmarkAddBF16(b *testing.B) {
	w, p := make([]uint16, Panel), make([]float32, Panel)
	b.SetBytes(Panel * 2)
	for b.Loop() {
		AddBF16(w, p, 1, false)
	}
}
