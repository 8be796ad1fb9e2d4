// Package lowrank computes updates of low rank to matrices, W + s*(L*R), with the
// very bits that torch computes on a CPU: each element of the product is one
// float32 accumulator, to which the terms are added by fused multiply-add in the
// order of the rank. Matrices of a few rows or columns are an exception.
//
// Assembly, where there is some, gives the same bits as the Go code beside it,
// except for which NaN a product is.
package lowrank

// Panel is the number of columns of R that are multiplied at a time: of a packed
// R, columns [i*Panel, (i+1)*Panel) follow one another, row by row.
const Panel = 64

// chain is how many terms are added up in one accumulator; see split. Follows the
// sgemm of torch 2.15 on amd64.
const chain = 192

// A Right is the right factor of a product, [rank, cols], packed in panels.
type Right struct {
	Rank, Cols int
	// Separate rounds each product before it is added, as torch does for matrices
	// with few rows or columns; see Small.
	Separate bool
	panels   []float32
}

// Small reports whether torch multiplies and adds separately to get a product of
// that shape. (Of 9 to 11 columns, and of one, it does some in another order still.)
// As observed of torch 2.15 on amd64.
func Small(rows, cols int) bool { return rows < 4 || cols < 12 }

// NewRight returns a factor of zeros. A rank and cols whose product does not fit
// into memory panic, so hold them against the tensors that they come from.
func NewRight(rank, cols int) *Right {
	return &Right{Rank: rank, Cols: cols, panels: make([]float32, (cols+Panel-1)/Panel*Panel*rank)}
}

// Set sets the element in row k, column i.
func (r *Right) Set(k, i int, v float32) {
	r.panels[(i/Panel*r.Rank+k)*Panel+i%Panel] = v
}

// SetRow sets row k.
func (r *Right) SetRow(k int, row []float32) {
	for i := 0; i < r.Cols; i += Panel {
		copy(r.panels[(i/Panel*r.Rank+k)*Panel:][:Panel], row[i:min(i+Panel, r.Cols)])
	}
}

// Panels returns the number of panels.
func (r *Right) Panels() int { return (r.Cols + Panel - 1) / Panel }

// Multiply sets dst to left times one panel of r. left is [rows, Rank], dst becomes
// [rows, Panel]; columns beyond Cols are 0. tmp is as long as dst, and used for
// ranks above 192 only.
func Multiply(dst, left []float32, r *Right, panel int, tmp []float32) {
	rows := len(dst) / Panel
	right := r.panels[panel*r.Rank*Panel:][:r.Rank*Panel]
	if r.Rank == 0 || rows == 0 {
		clear(dst)
		return
	}
	if r.Separate {
		productSeparate(dst, left, right, rows, r.Rank)
		return
	}
	for from := 0; from < r.Rank; {
		n := split(r.Rank, from)
		out := dst
		if from > 0 {
			out = tmp[:len(dst)]
		}
		product(out, left[from:], right[from*Panel:], rows, n, r.Rank)
		if from > 0 {
			for i, v := range out {
				dst[i] += v
			}
		}
		from += n
	}
}

// split returns how many terms from the given one on share an accumulator.
func split(rank, from int) int {
	switch {
	case rank <= chain:
		return rank
	case rank < 2*chain: // two halves
		return min((rank+1)/2, rank-from)
	}
	return min(chain, rank-from)
}

// productGo is what product does: dst[i][j] is the sum over k < n of
// left[i*stride+k] * right[k][j].
func productGo(dst, left, right []float32, rows, n, stride int) {
	for i := range rows {
		acc := (*[Panel]float32)(dst[i*Panel:])
		*acc = [Panel]float32{}
		for k, b := range left[i*stride:][:n] {
			for j, a := range (*[Panel]float32)(right[k*Panel:]) {
				acc[j] = FMA(b, a, acc[j])
			}
		}
	}
}

// productSeparate is productGo without fused multiply-add.
func productSeparate(dst, left, right []float32, rows, n int) {
	for i := range rows {
		acc := (*[Panel]float32)(dst[i*Panel:])
		*acc = [Panel]float32{}
		for k, b := range left[i*n:][:n] {
			for j, a := range (*[Panel]float32)(right[k*Panel:]) {
				acc[j] += float32(b * a) // not to be fused
			}
		}
	}
}

// Starts reports whether term k of a product of that rank begins a new accumulator.
func Starts(rank, k int) bool {
	switch {
	case rank <= chain:
		return k == 0
	case rank < 2*chain:
		return k == 0 || k == (rank+1)/2
	}
	return k%chain == 0
}
