package safetensors

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkWiden measures the widening of a million 16-bit floats against a loop
// that copies as many float32; MB/s count the output.
func BenchmarkWiden(b *testing.B) {
	const n = 1 << 20
	dst, weights := make([]float32, n), make([]float32, n)
	for i := range weights {
		weights[i] = float32(0.05 * math.Sin(float64(i)))
	}
	b.Run("copy-loop", func(b *testing.B) {
		b.SetBytes(4 * n)
		for b.Loop() {
			src := weights[:len(dst)]
			for i := range dst {
				dst[i] = src[i]
			}
		}
	})
	b.Run("copy-builtin", func(b *testing.B) {
		b.SetBytes(4 * n)
		for b.Loop() {
			copy(dst, weights)
		}
	})
	for _, d := range []DType{BF16, F16, F8_E4M3, F8_E8M0, F6_E3M2, F4} {
		src, err := EncodeFloat32(nil, d, weights)
		require.NoError(b, err)
		b.Run(d.String(), func(b *testing.B) {
			b.SetBytes(4 * n)
			for b.Loop() {
				decodeFloat32(dst, d, src)
			}
		})
	}
	for _, d := range []DType{BF16, F16} {
		src, err := EncodeFloat32(nil, d, weights)
		require.NoError(b, err)
		tensor := tensorOf(b, d, []uint64{n}, src)
		b.Run("AppendFloat32/"+d.String(), func(b *testing.B) {
			b.SetBytes(4 * n)
			for b.Loop() {
				if _, err := AppendFloat32(dst[:0], tensor); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	const n = 1 << 18
	src := make([]float32, n)
	for i := range src {
		src[i] = float32(math.Sin(float64(i)))
	}
	for _, d := range []DType{BF16, F16, F8_E4M3, F4} {
		b.Run(d.String(), func(b *testing.B) {
			dst := make([]byte, 0, 4*n)
			b.SetBytes(4 * n)
			for b.Loop() {
				if _, err := EncodeFloat32(dst, d, src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
