package safetensors_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/safeckpt/safeckpt/safetensors"
)

// The format's rules once more, over a tree that jsontext reads: slow, short, and
// sharing nothing with the decoder but the type that it fills.

// errOracle refuses; errUndecided leaves the verdict open.
var errOracle, errUndecided = errors.New("refused"), errors.New("undecided")

// A node is a JSON value. Names of members stand before their values, in all.
type node struct {
	kind jsontext.Kind
	text string // of a string, decoded; of a number, as it is written
	all  []node
}

// oracle decodes a file's header as the reference implementation does.
func oracle(file []byte) (*safetensors.Header, error) {
	if len(file) < 8 {
		return nil, errOracle
	}
	n := binary.LittleEndian.Uint64(file)
	if n > 100_000_000 || n > uint64(len(file)-8) {
		return nil, errOracle
	}
	dec := jsontext.NewDecoder(bytes.NewReader(file[8:8+n]), jsontext.AllowDuplicateNames(true))
	root, err := readNode(dec, 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, errOracle
	}
	h := &safetensors.Header{Length: n}
	tensors := make(map[string]safetensors.TensorInfo)
	seen := false
	if root.kind != '{' {
		return nil, errOracle
	}
	for i := 0; i < len(root.all); i += 2 {
		name, value := root.all[i].text, root.all[i+1]
		if name != "__metadata__" {
			t, ok := tensorNode(value)
			if !ok {
				return nil, errOracle
			}
			t.Name = name
			tensors[name] = t
			continue
		}
		if seen || value.kind != '{' && value.kind != 'n' {
			return nil, errOracle
		}
		seen = true
		if value.kind == '{' {
			h.Metadata = make(map[string]string)
		}
		for j := 0; j < len(value.all); j += 2 {
			if value.all[j+1].kind != '"' {
				return nil, errOracle
			}
			h.Metadata[value.all[j].text] = value.all[j+1].text
		}
	}
	for _, t := range tensors {
		h.Tensors = append(h.Tensors, t)
	}
	slices.SortFunc(h.Tensors, func(a, b safetensors.TensorInfo) int {
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.End, b.End), cmp.Compare(a.Name, b.Name))
	})
	end := uint64(0)
	for _, t := range h.Tensors {
		size, ok := product(append(slices.Clone(t.Shape), uint64(t.DType.Bits())))
		if !ok || t.Begin != end || t.End < t.Begin || size%8 != 0 || size/8 != t.End-t.Begin {
			return nil, errOracle
		}
		end = t.End
	}
	if end != uint64(len(file))-8-n {
		return nil, errOracle
	}
	return h, nil
}

// product multiplies from the left, and stops where 64 bits do not suffice.
func product(factors []uint64) (uint64, bool) {
	n := uint64(1)
	for _, f := range factors {
		over, low := bits.Mul64(n, f)
		if over != 0 {
			return 0, false
		}
		n = low
	}
	return n, true
}

// readNode reads a value. The reference's JSON reader allows 127 levels, and no
// number that is not finite.
func readNode(dec *jsontext.Decoder, depth int) (node, error) {
	t, err := dec.ReadToken()
	if err != nil || depth == 127 && (t.Kind() == '{' || t.Kind() == '[') {
		return node{}, errOracle
	}
	n := node{kind: t.Kind()}
	switch n.kind {
	case '"':
		n.text = t.String()
	case '0':
		n.text = t.String()
		v, err := strconv.ParseFloat(n.text, 64)
		if math.Abs(v) > 1.7976e308 && len(n.text) < 400 && !strings.Contains(n.text, "00000000") && err == nil {
			return n, errUndecided // the reference calculates inexactly
		}
		if err != nil {
			return n, errOracle
		}
	case '{', '[':
		for k := dec.PeekKind(); k != '}' && k != ']'; k = dec.PeekKind() {
			child, err := readNode(dec, depth+1)
			if err != nil {
				return n, err
			}
			n.all = append(n.all, child)
		}
		if _, err := dec.ReadToken(); err != nil {
			return n, errOracle
		}
	}
	return n, nil
}

func tensorNode(n node) (t safetensors.TensorInfo, ok bool) {
	var dtype, shape, offsets *node
	switch n.kind {
	case '[':
		if len(n.all) != 3 {
			return t, false
		}
		dtype, shape, offsets = &n.all[0], &n.all[1], &n.all[2]
	case '{':
		for i := 0; i < len(n.all); i += 2 {
			var field **node
			switch n.all[i].text {
			case "dtype":
				field = &dtype
			case "shape":
				field = &shape
			case "data_offsets":
				field = &offsets
			default:
				continue
			}
			if *field != nil {
				return t, false
			}
			*field = &n.all[i+1]
		}
	}
	if dtype == nil || shape == nil || offsets == nil {
		return t, false
	}
	name := *dtype
	if dtype.kind == '{' && len(dtype.all) == 2 && dtype.all[1].kind == 'n' {
		name = dtype.all[0]
	}
	if name.kind != '"' || !slices.Contains(mutantDTypes[:22], name.text) {
		return t, false
	}
	t.DType, _ = safetensors.ParseDType(name.text)
	pair, ok := uintNodes(*offsets)
	if !ok || len(pair) != 2 {
		return t, false
	}
	t.Begin, t.End = pair[0], pair[1]
	t.Shape, ok = uintNodes(*shape)
	return t, ok && mutantBits(name.text) == t.DType.Bits()
}

func uintNodes(n node) (all []uint64, ok bool) {
	if n.kind != '[' {
		return nil, false
	}
	for _, e := range n.all {
		v, err := strconv.ParseUint(e.text, 10, 64)
		if e.kind != '0' || err != nil {
			return nil, false
		}
		all = append(all, v)
	}
	return all, true
}
