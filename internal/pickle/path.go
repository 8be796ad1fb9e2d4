package pickle

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// A place is how a Value was reached: the way back to the root.
type place struct {
	up   *place
	key  any // string, int64, another node, or a part of an object
	off  int64
	name string // Options.Name
}

// part is a part of an inert object that has no key.
type part string

func (p *place) child(key any, n node) *place {
	off := offsetOf(n)
	if off < 0 {
		off = p.off // scalars have no place of their own: that of what holds them
	}
	return &place{p, key, off, p.name}
}

// Path returns how the value was reached from the root, such as
// .state[0]["exp_avg.x"]; "" for the root.
func (v Value) Path() string {
	const most = 32
	var parts []string
	for p := v.at; p != nil && p.up != nil; p = p.up {
		if len(parts) == most {
			parts = append(parts, "...")
			break
		}
		parts = append(parts, formatKey(p.key))
	}
	slices.Reverse(parts)
	return strings.Join(parts, "")
}

// Offset returns where in the input the value was made, or for numbers and
// strings the object that holds them; -1 if that is not known.
func (v Value) Offset() int64 {
	if v.at == nil {
		return -1
	}
	return v.at.off
}

func formatKey(key any) string {
	switch key := key.(type) {
	case part:
		return "." + string(key) + "()"
	case string:
		if isIdentifier(key) {
			return "." + key
		}
		return "[" + quoted(key) + "]"
	case int, int64, float64, bool:
		return fmt.Sprintf("[%v]", key)
	}
	return "[" + describe(key) + "]"
}

func isIdentifier(s string) bool {
	if s == "" || len(s) > 100 {
		return false
	}
	for i, c := range s {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func quoted(s string) string {
	if s = diag.Name(s); strings.HasPrefix(s, `"`) {
		return s
	}
	return `"` + s + `"`
}

// printable returns a hostile string for a message.
func printable(s string) string { return diag.Name(s) }

func kindOf(n node) Kind {
	switch n := n.(type) {
	case none:
		return None
	case bool:
		return Bool
	case int64, *big.Int:
		return Int
	case float64:
		return Float
	case string:
		return Text
	case []byte:
		return Bytes
	case *long:
		if n.text {
			return Text
		}
		return Bytes
	case *seq:
		return n.kind
	case *dict:
		return Mapping
	case *Tensor:
		return TensorKind
	case *Storage:
		return StorageKind
	case DType:
		return DTypeKind
	case *global, *object, storageClass:
		return Inert
	}
	return Invalid
}

// describe says what a node is, without looking below it.
func describe(n node) string {
	switch n := n.(type) {
	case bool:
		return map[bool]string{true: "True", false: "False"}[n]
	case int64:
		return "the int " + strconv.FormatInt(n, 10)
	case *big.Int:
		return fmt.Sprintf("an int of %d bits", n.BitLen())
	case float64:
		return "the float " + strconv.FormatFloat(n, 'g', -1, 64)
	case string:
		return "the string " + quoted(n)
	case []byte:
		return fmt.Sprintf("%d bytes", len(n))
	case *long:
		return fmt.Sprintf("%v of %d bytes, too long to load", kindOf(n), n.size)
	case *seq:
		return fmt.Sprintf("%v of %d", n.kind, len(n.elems))
	case *dict:
		return fmt.Sprintf("a dict of %d", len(n.keys))
	case *Tensor:
		return "a tensor " + n.String()
	case *Storage:
		return "the storage " + printable(n.Key)
	case DType:
		return "the dtype " + n.String()
	case storageClass:
		return "a storage class of " + n.dtype.String()
	case *global:
		return "the name " + printable(n.String())
	case *object:
		if g, ok := n.callee.(*global); ok {
			return "an object of " + printable(g.String())
		}
		if n.pid {
			return "an unknown persistent id"
		}
		return "the result of an unknown call"
	}
	return kindOf(n).String()
}
