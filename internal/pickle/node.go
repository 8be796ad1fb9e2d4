package pickle

import (
	"math"
	"math/big"
)

// A node is one Python object: none{}, bool, int64, *big.Int, float64, string,
// []byte, *long, *seq, *dict, *Tensor, *Storage, DType, storageClass, *global or
// *object.
type node any

type none struct{}

// long is a string or bytes that is left in the input.
type long struct {
	off, size int64
	text      bool
}

// seq is a list, tuple or set. Sets keep equal elements.
type seq struct {
	kind  Kind
	kept  bool // more than the stack holds it: see decoder.release
	off   int64
	elems []node
}

// dict is a dict in insertion order. Keys that are strings, numbers or None are
// unique; others are kept as they come.
type dict struct {
	off   int64
	keys  []node
	vals  []node
	index index // of the keys that are unique, once there are more than a few
}

// global is a module's name. It is inert unless a rule says how to call it.
type global struct {
	module, name string
	off          int64
	rule         *Rule
}

func (g *global) String() string { return g.module + "." + g.name }

// object is a call that was not made.
type object struct {
	off    int64
	callee node // *global, or another inert node
	args   *seq
	state  node   // what BUILD gave it, nil if nothing
	kwargs node   // NEWOBJ_EX, nil if none
	items  *dict  // SETITEMS on it: subclasses of dict
	elems  []node // APPENDS on it: subclasses of list
	pid    bool   // a persistent id that nobody claimed; args holds the id
}

// fewKeys is how many keys are found faster without an index.
const fewKeys = 8

type bigKey string

// normalKey maps keys that are equal in Python to one Go value: 1, True and 1.0.
func normalKey(n node) (any, bool) {
	switch n := n.(type) {
	case string, int64, none:
		return n, true
	case bool:
		if n {
			return int64(1), true
		}
		return int64(0), true
	case float64:
		if i := int64(n); float64(i) == n && math.Abs(n) < 1<<62 {
			return i, true
		}
		return n, n == n
	case *big.Int:
		return bigKey(n.String()), true
	}
	return nil, false
}

// find returns the position of a key, or -1.
func (d *dict) find(key any) int {
	if d.index.slots != nil {
		return d.index.find(d.keys, key)
	}
	for i, k := range d.keys {
		if nk, ok := normalKey(k); ok && nk == key {
			return i
		}
	}
	return -1
}

// set does d[k] = v: a key that is there keeps its place.
func (d *dict) set(k, v node) {
	key, unique := normalKey(k)
	if unique {
		if i := d.find(key); i >= 0 {
			d.vals[i] = v
			return
		}
	}
	d.keys, d.vals = append(d.keys, k), append(d.vals, v)
	if len(d.keys) > fewKeys {
		d.index.add(d.keys)
	}
}

func (d *dict) get(key any) (node, bool) {
	if i := d.find(key); i >= 0 {
		return d.vals[i], true
	}
	return nil, false
}

// attr returns an attribute of an object: of the state, which is a dict or a
// pair of a dict and a dict of slots, else an item.
func (o *object) attr(key any) (node, bool) {
	states := []node{o.state}
	if s, ok := o.state.(*seq); ok && s.kind == Tuple {
		states = s.elems[:min(len(s.elems), 2)]
	}
	for _, s := range states {
		if d, ok := s.(*dict); ok {
			if v, ok := d.get(key); ok {
				return v, true
			}
		}
	}
	if o.items != nil {
		return o.items.get(key)
	}
	return nil, false
}

// offsetOf returns where in the input a node begins, or -1.
func offsetOf(n node) int64 {
	switch n := n.(type) {
	case *long:
		return n.off
	case *seq:
		return n.off
	case *dict:
		return n.off
	case *Tensor:
		return n.off
	case *Storage:
		return n.off
	case *global:
		return n.off
	case *object:
		return n.off
	}
	return -1
}
