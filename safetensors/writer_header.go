package safetensors

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/safeckpt/safeckpt/diag"
)

// referenceOrder sorts tensors as the reference writer lays them out: by dtype,
// largest first, then by the bytes of the name. With it every tensor is aligned
// to its element size. Follows safetensors 0.8.0 (Rust), tensor.rs, prepare.
func referenceOrder(tensors []TensorInfo) []TensorInfo {
	return slices.SortedStableFunc(slices.Values(tensors), func(a, b TensorInfo) int {
		return cmp.Or(cmp.Compare(b.DType, a.DType), cmp.Compare(a.Name, b.Name))
	})
}

// place sets Begin and End of tensors, which follow one another without holes,
// and returns the size of the data section. It refuses what no reader accepts.
func place(tensors []TensorInfo) (uint64, error) {
	var errs []error
	seen := make(map[string]bool, len(tensors))
	end := uint64(0)
	for i := range tensors {
		t := &tensors[i]
		n, err := bytesOf(t)
		switch {
		case err != nil:
		case t.Name == metadataName:
			err = errors.New("the name is reserved for the file's metadata")
		case seen[t.Name]:
			err = errors.New("the name is given twice")
		case !utf8.ValidString(t.Name):
			err = errors.New("the name is not valid UTF-8")
		case n > math.MaxInt64-MaxHeaderBytes-8-end:
			err = errors.New("the file would be larger than 2^63 bytes")
		}
		if err != nil {
			if errs = append(errs, fmt.Errorf("tensor %s: %w", diag.Name(t.Name), err)); len(errs) == 10 {
				break
			}
			continue
		}
		seen[t.Name] = true
		t.Begin, t.End = end, end+n
		end += n
	}
	return end, errors.Join(errs...)
}

// bytesOf returns the bytes that a tensor of that dtype and shape takes. It
// multiplies in the reference's order, so that both accept the same shapes.
func bytesOf(t *TensorInfo) (uint64, error) {
	if t.DType.Bits() == 0 {
		return 0, errors.New("the dtype is not set")
	}
	n, over := uint64(1), uint64(0)
	for _, d := range append(slices.Clip(t.Shape), uint64(t.DType.Bits())) {
		hi, lo := bits.Mul64(n, d)
		n, over = lo, over|hi
	}
	switch {
	case over != 0:
		return 0, fmt.Errorf("shape %s of %s overflows 64 bits", shapeText(t.Shape), t.DType)
	case n%8 != 0:
		return 0, fmt.Errorf("shape %s of %s ends inside a byte", shapeText(t.Shape), t.DType)
	}
	return n / 8, nil
}

// appendHeader appends the length and the JSON of a header, padded with spaces
// so that the data section starts at a multiple of align. The bytes are those of
// safetensors 0.8.0, except that metadata is sorted by key, which the reference
// writes in the random order of its hash map, and that empty metadata without
// tensors, of which it makes invalid JSON, is valid. Nil metadata is left out.
func appendHeader(dst []byte, tensors []TensorInfo, metadata map[string]string, align int) ([]byte, error) {
	start := len(dst)
	dst = append(dst, make([]byte, 8)...)
	dst = append(dst, '{')
	if metadata != nil {
		dst = append(dst, `"__metadata__":{`...)
		for i, k := range slices.Sorted(maps.Keys(metadata)) {
			if !utf8.ValidString(k) || !utf8.ValidString(metadata[k]) {
				return nil, fmt.Errorf("metadata key %s: it or its value is not valid UTF-8", diag.Name(k))
			}
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSONString(dst, k)
			dst = append(dst, ':')
			dst = appendJSONString(dst, metadata[k])
		}
		dst = append(dst, '}')
	}
	for i := range tensors {
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		t := &tensors[i]
		dst = appendJSONString(dst, t.Name)
		dst = append(dst, `:{"dtype":"`...)
		dst = append(dst, t.DType.String()...)
		dst = append(dst, `","shape":[`...)
		for j, d := range t.Shape {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendUint(dst, d, 10)
		}
		dst = append(dst, `],"data_offsets":[`...)
		dst = strconv.AppendUint(dst, t.Begin, 10)
		dst = append(dst, ',')
		dst = strconv.AppendUint(dst, t.End, 10)
		dst = append(dst, "]}"...)
	}
	dst = append(dst, '}')
	for (len(dst)-start)%align != 0 {
		dst = append(dst, ' ')
	}
	n := len(dst) - start - 8
	if n > MaxHeaderBytes {
		return nil, fmt.Errorf("the header takes %d bytes, readers accept %d: write several files", n, MaxHeaderBytes)
	}
	binary.LittleEndian.PutUint64(dst[start:], uint64(n))
	return dst, nil
}

// appendJSONString appends s, which is valid UTF-8, as serde_json writes it:
// only what JSON demands is escaped.
func appendJSONString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= ' ':
			dst = append(dst, c)
		case shortEscape(c) != 0:
			dst = append(dst, '\\', shortEscape(c))
		default:
			dst = append(dst, `\u00`...)
			dst = append(dst, hex[c>>4], hex[c&15])
		}
	}
	return append(dst, '"')
}

// shortEscape returns the letter that JSON has for a control character, or 0.
func shortEscape(c byte) byte {
	switch c {
	case '\b':
		return 'b'
	case '\t':
		return 't'
	case '\n':
		return 'n'
	case '\f':
		return 'f'
	case '\r':
		return 'r'
	}
	return 0
}
