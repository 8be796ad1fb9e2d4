package peft

// maxFactorized bounds the sizes that are factorized, which takes their root in
// steps. The largest vocabularies have 2^20 entries.
const maxFactorized = 1 << 26

// factorize returns two factors of n, the smaller first: one is the factor asked
// for, or they are as near to each other as that allows; -1 asks for none. Follows
// peft 0.21.2 tuners/lokr/layer.py, factorization.
func factorize(n uint64, factor int) (uint64, uint64) {
	if factor > 0 && n%uint64(factor) == 0 {
		return uint64(factor), n / uint64(factor)
	}
	most := n
	if factor != -1 {
		most = uint64(max(factor, 1))
	}
	best := uint64(1)
	for m := uint64(2); m <= most && m <= n/m; m++ {
		if n%m == 0 {
			best = m
		}
	}
	return best, n / best
}

// divisor returns the divisor of n that is nearest to want, the lower of two as
// near. Follows peft 0.21.2 tuners/oft/layer.py, adjust_oft_parameters.
func divisor(n, want uint64) uint64 {
	if want >= n {
		return n
	}
	lower, higher := uint64(1), n
	for m := uint64(1); m <= n/m; m++ {
		if n%m != 0 {
			continue
		}
		for _, d := range [2]uint64{m, n / m} {
			if d <= want {
				lower = max(lower, d)
			}
			if d >= want {
				higher = min(higher, d)
			}
		}
	}
	if want <= lower || want-lower <= higher-want {
		return lower
	}
	return higher
}
