package lowrank

import "golang.org/x/sys/cpu"

// hasSIMD is a variable for the tests.
var hasSIMD = cpu.X86.HasAVX2 && cpu.X86.HasFMA

func product(dst, left, right []float32, rows, n, stride int) {
	if !hasSIMD {
		productGo(dst, left, right, rows, n, stride)
		return
	}
	_, _, _ = dst[rows*Panel-1], left[(rows-1)*stride+n-1], right[n*Panel-1]
	productAVX2(&dst[0], &left[0], &right[0], rows, n, stride)
}

// addBF16 does the first n elements, a multiple of 16.
func addBF16(w []uint16, p []float32, s float32, twice bool) (n int, finite bool) {
	n = len(w) &^ 15
	if !hasSIMD || n == 0 {
		return 0, true
	}
	_ = p[n-1]
	return n, addBF16AVX2(&w[0], &p[0], s, n, twice)
}

//go:noescape
func productAVX2(dst, left, right *float32, rows, n, stride int)

//go:noescape
func addBF16AVX2(w *uint16, p *float32, s float32, n int, twice bool) bool
