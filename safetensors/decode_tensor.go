package safetensors

import (
	"bytes"
	"math"
	"slices"
	"unicode"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/jsonscan"
)

// An entry is one tensor while it is read.
type entry struct {
	TensorInfo
	at                       int
	dtype, shape, offsets    bool // fields that were seen
	badDType, badShape, lost bool // and could not be decoded (lost: the offsets)
}

// tensor reads the value of one name.
func (d *decoder) tensor(name string, at int) error {
	e := entry{TensorInfo: TensorInfo{Name: name}, at: at}
	var err error
	switch kind := d.Kind(); kind {
	case jsonscan.Object:
		err = d.objectForm(&e)
	case jsonscan.Array:
		err = d.arrayForm(&e)
	default:
		e.lost = true
		err = d.wrong(diag.HeaderFieldType, name, "%s is %s, want an object with dtype, shape and data_offsets", shown(name), kind)
	}
	if err != nil {
		return err
	}
	return d.keep(&e)
}

func (d *decoder) objectForm(e *entry) error {
	if err := d.Enter(); err != nil {
		return err
	}
	for {
		field, ok, err := d.NextName()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		at := d.Start()
		var seen *bool
		switch field {
		case "dtype":
			seen, err = &e.dtype, d.readDType(e)
		case "shape":
			seen, err = &e.shape, d.readShape(e)
		case "data_offsets":
			seen, err = &e.offsets, d.readOffsets(e)
		default:
			d.add(diag.HeaderExtraField, at, e.Name, "%s has the field %s, which the format does not know", shown(e.Name), shown(field))
			err = d.Skip()
		}
		if err != nil {
			return err
		}
		if seen == nil {
			continue
		}
		if *seen {
			d.add(diag.HeaderFieldTwice, at, e.Name, "%s gives %s twice", shown(e.Name), field)
		}
		*seen = true
	}
	for _, f := range [...]struct {
		seen bool
		name string
	}{{e.dtype, "dtype"}, {e.shape, "shape"}, {e.offsets, "data_offsets"}} {
		if !f.seen {
			d.add(diag.HeaderFieldMissing, e.at, e.Name, "%s has no %s", shown(e.Name), f.name)
		}
	}
	return nil
}

// arrayForm reads ["F32",[1],[0,4]].
func (d *decoder) arrayForm(e *entry) error {
	at, n := d.Offset(), 0
	if err := d.Enter(); err != nil {
		return err
	}
	for ; ; n++ {
		ok, err := d.NextElem()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		switch n {
		case 0:
			e.dtype, err = true, d.readDType(e)
		case 1:
			e.shape, err = true, d.readShape(e)
		case 2:
			e.offsets, err = true, d.readOffsets(e)
		default:
			err = d.Skip()
		}
		if err != nil {
			return err
		}
	}
	if n != 3 {
		d.add(diag.HeaderFieldType, at, e.Name, "%s is an array of %d, want an object with dtype, shape and data_offsets", shown(e.Name), n)
		return nil
	}
	d.add(diag.HeaderArrayForm, at, e.Name, "%s is written as an array, want an object with dtype, shape and data_offsets", shown(e.Name))
	return nil
}

func (d *decoder) readDType(e *entry) error {
	at := d.Offset()
	var (
		name string
		err  error
	)
	switch kind := d.Kind(); kind {
	case jsonscan.String:
		name, err = d.Str()
	case jsonscan.Object:
		name, err = d.dtypeObject(e)
		if err == nil && name == "" {
			return nil
		}
	default:
		e.badDType = true
		return d.wrong(diag.HeaderFieldType, e.Name, "dtype of %s is %s, want a string", shown(e.Name), kind)
	}
	if err != nil {
		return err
	}
	dtype, ok := d.dtype, true
	if name == "" || name != dtype.String() {
		dtype, ok = ParseDType(name)
	}
	d.dtype, e.DType = dtype, dtype
	if !ok {
		e.badDType = true
		p := d.problem(diag.HeaderDType, at, e.Name, "%s has dtype %s, which is none of the format's", shown(e.Name), quoted(name))
		p.Got = diag.Name(name)
		if near, ok := nearDType(name); ok {
			p.Want = near.String()
			p.Cause = "dtype names are those of the format, not of a framework"
			p.Fix = "if the tensor is " + near.String() + ", write that name"
		}
		d.report.Add(p)
	}
	return nil
}

// dtypeObject reads {"F32":null}, which serde takes for a variant of an enum. It
// returns "" after anything else.
func (d *decoder) dtypeObject(e *entry) (string, error) {
	at := d.Offset()
	if err := d.Enter(); err != nil {
		return "", err
	}
	var name string
	good, n := true, 0
	for ; ; n++ {
		key, ok, err := d.NextName()
		if err != nil {
			return "", err
		}
		if !ok {
			break
		}
		name, good = key, good && d.Kind() == jsonscan.Null
		if err := d.Skip(); err != nil {
			return "", err
		}
	}
	if n != 1 || !good || name == "" {
		e.badDType = true
		d.add(diag.HeaderFieldType, at, e.Name, "dtype of %s is an object, want a string", shown(e.Name))
		return "", nil
	}
	d.add(diag.HeaderDTypeObject, at, e.Name, "dtype of %s is written as an object, want a string", shown(e.Name))
	return name, nil
}

func (d *decoder) readShape(e *entry) error {
	if kind := d.Kind(); kind != jsonscan.Array {
		e.badShape = true
		return d.wrong(diag.HeaderFieldType, e.Name, "shape of %s is %s, want an array", shown(e.Name), kind)
	}
	shape := d.room(d.text[d.Offset():])
	if err := d.Enter(); err != nil {
		return err
	}
	for {
		ok, err := d.NextElem()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		dim, err := d.uint(e, "a dimension", &e.badShape)
		if err != nil {
			return err
		}
		if limit := d.limits.Rank; limit > 0 && len(shape) == limit {
			d.add(diag.HeaderLimit, d.Start(), e.Name, "%s has more than %d dimensions, the limit of the caller", shown(e.Name), limit)
			return errLimit{}
		}
		shape = append(shape, dim)
	}
	e.Shape = shape[:len(shape):len(shape)]
	return nil
}

// room returns an empty slice with room for the shape that text begins with, cut
// from a chunk that many shapes share.
func (d *decoder) room(text []byte) []uint64 {
	text = text[:max(bytes.IndexByte(text, ']'), 0)]
	n := min(bytes.Count(text, []byte(",")), len(text)/2) + 1
	if limit := d.limits.Rank; limit > 0 {
		n = min(n, limit)
	}
	if n > len(d.shapes) {
		d.shapes = make([]uint64, max(n, min(2*cap(d.h.Tensors), 4096)))
	}
	shape := d.shapes[:0:n]
	d.shapes = d.shapes[n:]
	return shape
}

func (d *decoder) readOffsets(e *entry) error {
	at := d.Offset()
	if kind := d.Kind(); kind != jsonscan.Array {
		e.lost = true
		return d.wrong(diag.HeaderFieldType, e.Name, "data_offsets of %s is %s, want an array of two", shown(e.Name), kind)
	}
	if err := d.Enter(); err != nil {
		return err
	}
	var pair [2]uint64
	n := 0
	for ; ; n++ {
		ok, err := d.NextElem()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		v, err := d.uint(e, "an offset", &e.lost)
		if err != nil {
			return err
		}
		if n < 2 {
			pair[n] = v
		}
	}
	if n != 2 {
		e.lost = true
		d.add(diag.HeaderFieldType, at, e.Name, "data_offsets of %s has %s, want two", shown(e.Name), diag.Count(n, "number"))
	}
	e.Begin, e.End = pair[0], pair[1]
	return nil
}

// uint reads an element of a shape or of offsets. The first that is no unsigned
// integer is reported, and sets bad.
func (d *decoder) uint(e *entry, what string, bad *bool) (uint64, error) {
	at, kind := d.Offset(), d.Kind()
	if kind == jsonscan.Number {
		if v, ok, err := d.Uint(); ok || err != nil {
			return v, err
		}
	} else if err := d.Skip(); err != nil {
		return 0, err
	}
	if *bad {
		return 0, nil
	}
	*bad = true
	got := kind.String()
	if kind == jsonscan.Number {
		got = diag.Name(d.Text(at, min(d.Offset(), at+40)))
	}
	p := d.problem(diag.HeaderFieldType, at, e.Name, "%s has %s as %s, want an unsigned integer", shown(e.Name), got, what)
	p.Want, p.Got = "an unsigned integer", got
	d.report.Add(p)
	return 0, nil
}

// keep adds a tensor that was read to the header.
func (d *decoder) keep(e *entry) error {
	if !e.offsets || e.lost {
		d.unplaced++
		return nil
	}
	if e.badDType || e.badShape || !e.shape {
		e.DType = 0
	}
	n := len(d.h.Tensors)
	if limit := d.limits.Tensors; limit > 0 && n == limit || n == math.MaxInt32 {
		d.add(diag.HeaderLimit, e.at, e.Name, "the header has more than %d tensors, the limit of the caller", n)
		return errLimit{}
	}
	if n == cap(d.h.Tensors) {
		// Entries shorter than the format's own text allows. Grow once, to what the
		// rest can hold: this one and others of at least "":[0,0,[0,0]], each.
		more := 1 + (len(d.text)-d.Offset())/15
		d.h.Tensors, d.at = slices.Grow(d.h.Tensors, more), slices.Grow(d.at, more)
	}
	d.h.Tensors = append(d.h.Tensors, e.TensorInfo)
	d.at = append(d.at, uint32(e.at))
	if oddName(e.Name) {
		d.add(diag.HeaderName, e.at, e.Name, "the tensor name %s is empty or has characters that do not show", quoted(e.Name))
	}
	return nil
}

// oddName reports whether a name is empty or has control, format or other
// characters that do not show.
func oddName(name string) bool {
	for i := 0; i < len(name); i++ {
		if c := name[i]; c < ' ' || c >= 0x7f {
			for _, r := range name {
				if !unicode.IsPrint(r) {
					return true
				}
			}
			return false
		}
	}
	return name == ""
}
