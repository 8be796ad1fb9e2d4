package safetensors

import "golang.org/x/sys/cpu"

// widenF16 decodes as many F16 of src as the processor can by itself, a multiple
// of eight, and returns how many. Like lookUpF16 it reads eight, then writes them.
func widenF16(dst []float32, src []byte) int {
	n := min(len(dst), len(src)/2) / 8
	if n == 0 || !cpu.X86.HasF16C || !cpu.X86.HasAVX { // AVX: the system saves its registers
		return 0
	}
	f16Eights(&dst[0], &src[0], n)
	return 8 * n
}

// widenBF16 is widenF16 for BF16.
func widenBF16(dst []float32, src []byte) int {
	n := min(len(dst), len(src)/2) / 8
	if n == 0 || !cpu.X86.HasAVX2 {
		return 0
	}
	bf16Eights(&dst[0], &src[0], n)
	return 8 * n
}

//go:noescape
func f16Eights(dst *float32, src *byte, n int)

//go:noescape
func bf16Eights(dst *float32, src *byte, n int)
