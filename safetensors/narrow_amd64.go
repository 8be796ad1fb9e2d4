package safetensors

import "golang.org/x/sys/cpu"

// narrowF16 rounds as many floats to F16 as the processor can by itself, a multiple
// of eight, and returns how many.
func narrowF16(dst []byte, src []float32) int {
	n := min(len(dst)/2, len(src)) / 8
	if n == 0 || !cpu.X86.HasF16C || !cpu.X86.HasAVX { // AVX: the system saves its registers
		return 0
	}
	toF16Eights(&dst[0], &src[0], n)
	return 8 * n
}

// narrowBF16 is narrowF16 for BF16.
func narrowBF16(dst []byte, src []float32) int {
	n := min(len(dst)/2, len(src)) / 8
	if n == 0 || !cpu.X86.HasAVX2 {
		return 0
	}
	toBF16Eights(&dst[0], &src[0], n)
	return 8 * n
}

//go:noescape
func toF16Eights(dst *byte, src *float32, n int)

//go:noescape
func toBF16Eights(dst *byte, src *float32, n int)
