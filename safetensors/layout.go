package safetensors

import (
	"bytes"
	"fmt"
	"math"
	"math/bits"
	"sort"
	"strconv"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// layout sorts the tensors by their place and checks that they cover the data of
// a file of size bytes exactly. Follows Metadata::validate of safetensors 0.8.0,
// but goes on after the first problem.
func (d *decoder) layout(size int64) {
	d.dropDuplicates()
	d.sort()
	var (
		h      = d.h
		data   = uint64(size) - 8 - h.Length // the caller has checked that the header is in the file
		cursor uint64                        // end of what is covered so far
		last   = -1                          // the tensor that ends there
	)
	for i := range h.Tensors {
		t := &h.Tensors[i]
		switch {
		case t.End < t.Begin:
			d.add(diag.HeaderReversed, int(d.at[i]), t.Name, "data_offsets of %s are [%d,%d]: the end is before the begin", shown(t.Name), t.Begin, t.End)
			d.unplaced++
			continue
		case t.Begin < cursor:
			d.overlap(t, &h.Tensors[last])
		case t.Begin > cursor && d.complete():
			d.hole(t, cursor)
		}
		if t.End >= cursor {
			cursor, last = t.End, i
		}
		if t.DType != 0 {
			d.checkSize(t, int(d.at[i]))
		}
	}
	if d.broken {
		return
	}
	switch {
	case cursor > data:
		d.truncated(size, data, cursor)
	case cursor < data && d.complete():
		d.trailing(data, cursor)
	}
	d.alignment()
}

// dropDuplicates leaves the last entry of each name, as the reference does.
func (d *decoder) dropDuplicates() {
	h := d.h
	// Made only now, when its size is known: a map that grows leaves garbage.
	h.index = make(map[string]int32, len(h.Tensors))
	d.reindex()
	if len(h.index) == len(h.Tensors) {
		return
	}
	n := 0
	for i := range h.Tensors {
		name := h.Tensors[i].Name
		last := int(h.index[name])
		if last != i {
			p := d.problem(diag.HeaderDuplicate, int(d.at[last]), name, "%s is given twice; the last entry counts", shown(name))
			if p.Message != "" { // it will be shown
				p.Related = []diag.Related{{File: d.file, Tensor: name, Offset: diag.At(8 + int64(d.at[i])), Message: "an entry before it"}}
			}
			d.report.Add(p)
			continue
		}
		h.Tensors[n], d.at[n] = h.Tensors[i], d.at[i]
		n++
	}
	h.Tensors, d.at = h.Tensors[:n], d.at[:n]
	d.reindex()
}

// reindex points the index to the last entry of each name.
func (d *decoder) reindex() {
	for i := range d.h.Tensors {
		d.h.index[d.h.Tensors[i].Name] = int32(i)
	}
}

// complete reports whether the place of every tensor is known, so that a gap
// between them is one.
func (d *decoder) complete() bool { return !d.broken && d.unplaced == 0 }

// sort orders the tensors by (begin, end, name). Writers do that already.
func (d *decoder) sort() {
	if order := (byPlace{d.h.Tensors, d.at}); !sort.IsSorted(order) {
		sort.Sort(order)
		d.reindex()
	}
}

// byPlace sorts tensors together with the places of their entries, without a copy.
type byPlace struct {
	tensors []TensorInfo
	at      []uint32
}

func (b byPlace) Len() int { return len(b.tensors) }

func (b byPlace) Less(i, j int) bool {
	x, y := &b.tensors[i], &b.tensors[j]
	if x.Begin != y.Begin {
		return x.Begin < y.Begin
	}
	if x.End != y.End {
		return x.End < y.End
	}
	return x.Name < y.Name
}

func (b byPlace) Swap(i, j int) {
	b.tensors[i], b.tensors[j] = b.tensors[j], b.tensors[i]
	b.at[i], b.at[j] = b.at[j], b.at[i]
}

// dataProblem returns a problem at an offset in the data section.
func (d *decoder) dataProblem(c diag.Code, off uint64, tensor, format string, args ...any) diag.Problem {
	p := d.bare(c, tensor, format, args...)
	p.Offset = d.dataOffset(off)
	return p
}

// dataOffset returns the absolute offset, nil if it is no int64.
func (d *decoder) dataOffset(off uint64) *int64 {
	abs := off + uint64(d.h.DataStart())
	if abs < off || abs > 1<<63-1 {
		return nil
	}
	return diag.At(int64(abs))
}

func (d *decoder) overlap(t, other *TensorInfo) {
	p := d.dataProblem(diag.HeaderOverlap, t.Begin, t.Name, "%s has data_offsets [%d,%d], inside of %s with [%d,%d]",
		shown(t.Name), t.Begin, t.End, shown(other.Name), other.Begin, other.End)
	p.Related = []diag.Related{{File: d.file, Tensor: other.Name, Offset: d.dataOffset(other.Begin), Message: "the tensor before it"}}
	if t.Begin == other.Begin && t.End == other.End {
		p.Cause = "tied tensors were written as two names for the same bytes, which the format does not allow"
		p.Fix = "save one of the two names only"
	}
	d.report.Add(p)
}

func (d *decoder) hole(t *TensorInfo, from uint64) {
	d.report.Add(d.dataProblem(diag.HeaderHole, from, t.Name, "%d bytes before %s belong to no tensor: it begins at %d, want %d",
		t.Begin-from, shown(t.Name), t.Begin, from))
}

// checkSize holds the shape against the data_offsets. The product is taken from
// the left as in the reference, so that [0,2^63,4] passes and [2^63,4,0] does not.
func (d *decoder) checkSize(t *TensorInfo, at int) {
	n, over := uint64(1), uint64(0)
	for _, dim := range t.Shape {
		if over == 0 {
			over, n = bits.Mul64(n, dim)
		}
	}
	var size uint64
	if over == 0 {
		over, size = bits.Mul64(n, uint64(t.DType.Bits()))
	}
	takes := t.Bytes()
	if over == 0 && size%8 == 0 && size/8 == takes {
		d.loadable(t, at)
		return
	}
	what := fmt.Sprintf("%s %s", t.DType, shapeText(t.Shape))
	switch {
	case over != 0:
		d.add(diag.HeaderOverflow, at, t.Name, "%s: %s has more bits than 64-bit numbers can count", shown(t.Name), what)
	case size%8 != 0:
		d.add(diag.HeaderPartialByte, at, t.Name, "%s: %s takes %d bits, want a multiple of 8", shown(t.Name), what, size)
	default:
		p := d.problem(diag.HeaderSize, at, t.Name, "%s: %s takes %s, data_offsets give %d", shown(t.Name), what, diag.Count(size/8, "byte"), takes)
		p.Want, p.Got = diag.Count(size/8, "byte"), diag.Count(takes, "byte")
		if t.DType == F4 && takes == n {
			p.Cause = "the shape counts bytes; for F4 it has to count elements, two to a byte"
		}
		d.report.Add(p)
	}
}

// loadable notes what the format allows and frameworks cannot hold.
func (d *decoder) loadable(t *TensorInfo, at int) {
	for _, dim := range t.Shape {
		if dim > math.MaxInt64 {
			d.add(diag.HeaderDimension, at, t.Name, "%s has a dimension of %d, more than a signed 64-bit integer holds", shown(t.Name), dim)
			break
		}
	}
	const most = 64 // numpy's NPY_MAXDIMS since 2.0, and torch's
	if len(t.Shape) > most {
		d.add(diag.HeaderRank, at, t.Name, "%s has %d dimensions, numpy and torch allow %d", shown(t.Name), len(t.Shape), most)
	}
	if t.DType.Bits() < 8 && len(t.Shape) > 1 && t.Bytes() > 0 {
		if row := t.Shape[len(t.Shape)-1]; row%8*uint64(t.DType.Bits())%8 != 0 {
			d.add(diag.HeaderSplitRow, at, t.Name, "%s: rows of %d %s elements end inside a byte", shown(t.Name), row, t.DType)
		}
	}
}

// alignment notes what cannot be viewed without a copy, once per file.
func (d *decoder) alignment() {
	if start := d.h.DataStart(); start%8 != 0 {
		d.add(diag.HeaderUnaligned, -8, "", "the data starts at byte %d, not on a multiple of 8", start)
	}
	var first *TensorInfo
	n := 0
	for i := range d.h.Tensors {
		t := &d.h.Tensors[i]
		if bits := t.DType.Bits(); bits > 8 && t.Begin%uint64(bits/8) != 0 {
			if first == nil {
				first = t
			}
			n++
		}
	}
	if n > 0 {
		d.report.Add(d.dataProblem(diag.TensorUnaligned, first.Begin, first.Name, "%d of %d tensors do not begin on a multiple of their element's size, first: %s",
			n, len(d.h.Tensors), shown(first.Name)))
	}
}

// truncated reports that the data of size-8-N bytes ends before end.
func (d *decoder) truncated(size int64, data, end uint64) {
	lost := 0
	first := ""
	for i := range d.h.Tensors {
		if t := &d.h.Tensors[i]; t.End > data && t.End >= t.Begin {
			if lost == 0 {
				first = t.Name
			}
			lost++
		}
	}
	total, carry := bits.Add64(end, uint64(d.h.DataStart()), 0)
	if carry > 0 {
		total = math.MaxUint64
	}
	p := diag.New(diag.FileTruncated, "%s (%.1f %%); %d of %d tensors incomplete, first: %s",
		partOf(uint64(size), total), 100*float64(size)/float64(total), lost, len(d.h.Tensors), diag.Name(first))
	p.File, p.Tensor, p.Offset = d.file, first, diag.At(size)
	p.Want, p.Got = diag.Count(total, "byte"), diag.Count(size, "byte")
	p.Cause = "a download, copy or save that was interrupted, or a full disk"
	p.Fix = "get the file again, and compare its size with the source; if it was saved here, use the checkpoint before it"
	d.report.Add(p)
}

// partOf formats "12.41 of 16.58 GB".
func partOf(n, total uint64) string {
	part, whole := diag.Size(n), diag.Size(total)
	number, unit, _ := strings.Cut(part, " ")
	if strings.HasSuffix(whole, " "+unit) {
		part = number
	}
	return part + " of " + whole
}

// trailing reports that the data goes on after end.
func (d *decoder) trailing(data, end uint64) {
	more := data - end
	p := d.dataProblem(diag.FileTrailing, end, "", "%s after the last tensor: the header describes %s of data, the file has %d", diag.Count(more, "byte"), diag.Count(end, "byte"), data)
	p.Want, p.Got = diag.Count(end, "byte")+" of data", diag.Count(data, "byte")+" of data"
	p.Cause, p.Fix = trailingCause(d.tail(end), more), "get the file again; do not cut it to size unless you know what was added"
	d.report.Add(p)
}

// trailingCause tells why a file probably goes on, from the bytes that follow.
func trailingCause(tail []byte, more uint64) string {
	if len(tail) > 0 && len(bytes.TrimLeft(tail, "\x00")) == 0 {
		return "what follows begins with zeros: the file was preallocated or padded after it was saved"
	}
	if plausible(tail, int64(min(more, math.MaxInt64))) {
		return "what follows begins like another safetensors file: two files were joined, or a resumed download started again"
	}
	if p := Sniff(tail, int64(min(more, math.MaxInt64))); p != nil {
		return "what follows looks like something else was appended (" + p.Title() + ")"
	}
	return "tensors were removed from the header by hand, a file was written over a longer one, or something was appended"
}

// shapeText formats a shape as [2,3], with the middle of a long one left out.
func shapeText(shape []uint64) string {
	var dims []string
	for i, dim := range shape {
		if len(shape) > 16 && i == 8 {
			dims = append(dims, fmt.Sprintf("…%d more…", len(shape)-8))
			break
		}
		dims = append(dims, strconv.FormatUint(dim, 10))
	}
	return "[" + strings.Join(dims, ",") + "]"
}
