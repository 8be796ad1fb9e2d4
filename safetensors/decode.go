package safetensors

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/jsonscan"
)

const metadataName = "__metadata__"

// A decoder turns the text of a header into a Header. What the reference refuses
// becomes a problem of severity error, what it lets pass against the format's
// own text a warning or a note. It goes on as long as the JSON holds.
type decoder struct {
	*jsonscan.Scanner
	text   []byte
	file   string
	limits Limits
	report *diag.Report
	tail   func(off uint64) []byte // some bytes at an offset of the data, for diagnosis

	h    *Header
	at   []uint32          // where the entry of each of h.Tensors stands in text
	told map[diag.Code]int // how many problems of each code there were

	dtype    DType    // of the tensor before: most are like it
	shapes   []uint64 // rest of the chunk that shapes are cut from
	metadata bool     // __metadata__ was seen
	end      int      // of the object that the text is, if it has one
	broken   bool     // the text was not read to its end
	unplaced int      // entries whose data_offsets could not be decoded
}

// decode decodes and checks the header of a file of size bytes, which it is known
// to fit in. The returned header aliases text.
func (d *decoder) decode(text []byte, size int64) *Header {
	d.Scanner, d.text, d.h = jsonscan.New(text), text, &Header{Length: uint64(len(text))}
	// Room for all tensors at once. An entry takes at least 50 bytes, so that a
	// header full of braces cannot ask for more than a few times its size.
	n := min(bytes.Count(text, []byte("{")), len(text)/50+1)
	d.h.Tensors = make([]TensorInfo, 0, n)
	d.at = make([]uint32, 0, n)
	d.told = make(map[diag.Code]int)

	readable := len(text) // up to where it is JSON
	if err := d.top(); err != nil {
		d.broken = true
		if err, ok := err.(*jsonscan.SyntaxError); ok {
			d.syntax(err)
			readable = err.Offset
		}
	}
	d.utf8(text[:readable])
	d.layout(size)
	return d.h
}

// problem returns a problem at an offset in the header's text.
func (d *decoder) problem(c diag.Code, at int, tensor, format string, args ...any) diag.Problem {
	p := d.bare(c, tensor, format, args...)
	p.Offset = diag.At(8 + int64(at))
	return p
}

// bare returns a problem without an offset. Of a code that the report keeps no
// more of, it is only to be counted: a hostile header has millions.
func (d *decoder) bare(c diag.Code, tensor, format string, args ...any) diag.Problem {
	if d.told[c]++; d.told[c] > diag.DefaultLimit {
		return diag.New(c, "")
	}
	p := diag.New(c, format, args...)
	p.File, p.Tensor = d.file, tensor
	p.Cause, p.Fix = advice[c].cause, advice[c].fix
	return p
}

// shown and quoted format a name of the file if and when it is printed.
type (
	shown  string
	quoted string
)

func (s shown) String() string { return diag.Name(string(s)) }

func (q quoted) String() string {
	s := diag.Name(string(q))
	if s[0] == '"' { // it has been escaped
		return s
	}
	return `"` + s + `"`
}

func (d *decoder) add(c diag.Code, at int, tensor, format string, args ...any) {
	d.report.Add(d.problem(c, at, tensor, format, args...))
}

// wrong skips the value that comes next, and reports it. It does so afterwards:
// where the text is broken there is no value.
func (d *decoder) wrong(c diag.Code, tensor, format string, args ...any) error {
	at := d.Offset()
	if err := d.Skip(); err != nil {
		return err
	}
	d.add(c, at, tensor, format, args...)
	return nil
}

func (d *decoder) syntax(err *jsonscan.SyntaxError) {
	p := d.problem(diag.HeaderSyntax, err.Offset, "", "the header is no valid JSON: %s", err.Message)
	if d.end > 0 {
		p.Cause = fmt.Sprintf("the JSON text ends after %d bytes, and the first 8 bytes of the file announce %d: they were damaged, or it was padded with something else than spaces", d.end, len(d.text))
	}
	d.report.Add(p)
}

// utf8 checks the text up to where it is no JSON: what follows may be no text.
func (d *decoder) utf8(text []byte) {
	if utf8.Valid(text) {
		return
	}
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			d.add(diag.HeaderUTF8, i, "", "byte %#02x in the header is not valid UTF-8", text[i])
			return
		}
		i += n
	}
}

// errLimit stops the scan; the problem has been reported.
type errLimit struct{}

func (errLimit) Error() string { return "limit" }

// top reads the whole text.
func (d *decoder) top() error {
	if kind := d.Kind(); kind != jsonscan.Object {
		if err := d.Skip(); err != nil {
			return err
		}
		d.broken = true
		d.add(diag.HeaderNotObject, 0, "", "the header is %s, want an object", kind)
		return nil
	}
	if at := d.Offset(); at > 0 {
		d.add(diag.HeaderLeadingBlanks, 0, "", "the header begins with %s, want {", diag.Count(at, "blank"))
	}
	if err := d.Enter(); err != nil {
		return err
	}
	for {
		name, ok, err := d.NextName()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if name == metadataName {
			err = d.readMetadata(d.Start())
		} else {
			err = d.tensor(name, d.Start())
		}
		if err != nil {
			return err
		}
	}
	end := d.Offset()
	for d.end = end; jsonscan.IsBlank(d.text[d.end-1]); d.end-- {
	}
	if err := d.End(); err != nil {
		return err
	}
	for i := end; i > d.end; i-- {
		if d.text[i-1] != ' ' {
			d.add(diag.HeaderTrailing, i-1, "", "the header is padded with %s, want spaces", strconv.QuoteRune(rune(d.text[i-1])))
			break
		}
	}
	return nil
}

func (d *decoder) readMetadata(at int) error {
	if d.metadata {
		d.add(diag.HeaderFieldTwice, at, "", "%s is given twice", metadataName)
	}
	d.metadata = true
	switch kind := d.Kind(); kind {
	case jsonscan.Object:
	case jsonscan.Null:
		return d.wrong(diag.HeaderMetadataNull, "", "%s is null, want a map of strings", metadataName)
	default:
		return d.wrong(diag.HeaderMetadata, "", "%s is %s, want a map of strings", metadataName, kind)
	}
	if err := d.Enter(); err != nil {
		return err
	}
	d.h.Metadata = make(map[string]string)
	for {
		key, ok, err := d.NextName()
		if !ok {
			return err
		}
		at := d.Start()
		if kind := d.Kind(); kind != jsonscan.String {
			if err := d.wrong(diag.HeaderMetadata, "", "metadata %s is %s, want a string", shown(key), kind); err != nil {
				return err
			}
			continue
		}
		value, err := d.Str()
		if err != nil {
			return err
		}
		if _, dup := d.h.Metadata[key]; dup {
			d.add(diag.HeaderDuplicateKey, at, "", "metadata %s is given twice; the last value counts", shown(key))
		}
		d.h.Metadata[key] = value
	}
}
