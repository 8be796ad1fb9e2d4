package pickle

import (
	"fmt"
	"iter"
	"math/big"
)

// Kind is what a Value is.
type Kind uint8

// The kinds.
const (
	Invalid Kind = iota // missing: see Value.Err
	None
	Bool
	Int
	Float
	Text  // str
	Bytes // bytes, bytearray
	List
	Tuple
	Set // set, frozenset
	Mapping
	TensorKind
	StorageKind
	DTypeKind
	Inert // a name or a call of something that is not on the allow-list
)

var kindNames = [...]string{"nothing", "None", "a bool", "an int", "a float", "a string", "bytes", "a list", "a tuple", "a set", "a dict", "a tensor", "a storage", "a dtype", "an object"}

// String returns the kind with its article, such as "a list".
func (k Kind) String() string { return kindNames[k] }

// A Value is an object of a pickle and the path that led to it. Values are read
// only, so any number of goroutines may use them.
//
// Going down to what is not there gives a Value of kind Invalid, which carries
// the error until a typed accessor returns it:
//
//	stage, err := root.Get("optimizer_state_dict", "zero_stage").Int()
type Value struct {
	n  node // *Error if Invalid
	at *place
}

func (v Value) fail(format string, args ...any) *Error {
	e := &Error{Path: v.Path(), Offset: v.Offset(), Message: fmt.Sprintf(format, args...), Err: ErrType}
	if v.at != nil {
		e.Name = v.at.name
	}
	return e
}

// want returns the error that v is not of the kind that is wanted.
func (v Value) want(what string) error {
	if err := v.Err(); err != nil {
		return err
	}
	return v.fail("want %s, found %s", what, describe(v.n))
}

func (v Value) child(key any, n node) Value {
	return Value{n, v.at.child(key, n)}
}

// Kind returns what the value is.
func (v Value) Kind() Kind { return kindOf(v.n) }

// Err returns why the value is Invalid, else nil.
func (v Value) Err() error {
	switch e := v.n.(type) {
	case nil:
		return v.fail("no value")
	case *Error:
		return e
	}
	return nil
}

// IsNone reports whether the value is None.
func (v Value) IsNone() bool { return v.Kind() == None }

// Describe returns what the value is for a message: "a dict of 3".
func (v Value) Describe() string { return describe(v.n) }

// Get goes down by keys. A string is a key of a dict or an attribute of an inert
// object; an int is an index into a list or tuple, or a key of a dict.
func (v Value) Get(keys ...any) Value {
	for _, key := range keys {
		next, found := v.step(key)
		if !found {
			return Value{v.missing(key), v.at}
		}
		v = next
	}
	return v
}

// Lookup is Get for what may be missing: the second result is false if one of
// the keys is not there. A value that has no keys is not the same as one that
// lacks this key: then the result is true and the Value Invalid.
func (v Value) Lookup(keys ...any) (Value, bool) {
	for _, key := range keys {
		next, found := v.step(key)
		if !found {
			switch v.n.(type) {
			case *dict, *seq, *object:
				return Value{v.missing(key), v.at}, false
			}
			return Value{v.missing(key), v.at}, true
		}
		v = next
	}
	return v, true
}

func (v Value) step(key any) (Value, bool) {
	if i, ok := key.(int); ok {
		key = int64(i)
	}
	var n node
	found := false
	switch in := v.n.(type) {
	case *dict:
		n, found = in.get(key)
	case *object:
		n, found = in.attr(key)
	case *seq:
		if i, ok := key.(int64); ok && in.kind != Set && i >= 0 && i < int64(len(in.elems)) {
			n, found = in.elems[i], true
		}
	}
	if !found {
		return Value{}, false
	}
	return v.child(key, n), true
}

func (v Value) missing(key any) node {
	if err, ok := v.n.(*Error); ok {
		return err
	}
	switch v.n.(type) {
	case *dict, *object:
		return v.fail("%s is missing: %s has no such key", formatKey(key), describe(v.n))
	case *seq:
		return v.fail("%s is missing: it is %s", formatKey(key), describe(v.n))
	}
	return v.fail("want a dict, found %s", describe(v.n))
}

// Bool returns a bool.
func (v Value) Bool() (bool, error) {
	if b, ok := v.n.(bool); ok {
		return b, nil
	}
	return false, v.want("a bool")
}

// Int returns an int of 64 bits. A bool is none.
func (v Value) Int() (int64, error) {
	if i, ok := v.n.(int64); ok {
		return i, nil
	}
	return 0, v.want("an int")
}

// Float returns a float or an int as a float.
func (v Value) Float() (float64, error) {
	switch n := v.n.(type) {
	case float64:
		return n, nil
	case int64:
		return float64(n), nil
	}
	return 0, v.want("a number")
}

// Text returns a string.
func (v Value) Text() (string, error) {
	if s, ok := v.n.(string); ok {
		return s, nil
	}
	return "", v.want("a string")
}

// Bytes returns bytes. Not to be modified.
func (v Value) Bytes() ([]byte, error) {
	if b, ok := v.n.([]byte); ok {
		return b, nil
	}
	return nil, v.want("bytes")
}

// Big returns an int of any size.
func (v Value) Big() (*big.Int, error) {
	switch n := v.n.(type) {
	case int64:
		return big.NewInt(n), nil
	case *big.Int:
		return new(big.Int).Set(n), nil
	}
	return nil, v.want("an int")
}

// DType returns a torch dtype.
func (v Value) DType() (DType, error) {
	if d, ok := v.n.(DType); ok {
		return d, nil
	}
	return 0, v.want("a dtype")
}

// Tensor returns a tensor.
func (v Value) Tensor() (*Tensor, error) {
	if t, ok := v.n.(*Tensor); ok {
		return t, nil
	}
	return nil, v.want("a tensor")
}

// Ints returns a list, tuple or torch.Size of ints.
func (v Value) Ints() ([]int64, error) {
	s, ok := v.n.(*seq)
	if !ok || s.kind == Set {
		return nil, v.want("a list of ints")
	}
	out := make([]int64, len(s.elems))
	for i, e := range s.elems {
		if out[i], ok = e.(int64); !ok {
			return nil, v.child(int64(i), e).want("an int")
		}
	}
	return out, nil
}

// Len returns the number of entries or elements of a dict, list, tuple or set,
// else 0.
func (v Value) Len() int {
	switch n := v.n.(type) {
	case *dict:
		return len(n.keys)
	case *seq:
		return len(n.elems)
	}
	return 0
}

// Items returns the entries of a dict in their order.
func (v Value) Items() (iter.Seq2[Value, Value], error) {
	d, ok := v.n.(*dict)
	if !ok {
		return nil, v.want("a dict")
	}
	return func(yield func(Value, Value) bool) {
		for i, k := range d.keys {
			if !yield(Value{k, v.at}, v.child(k, d.vals[i])) {
				return
			}
		}
	}, nil
}

// Elems returns the elements of a list, tuple or set.
func (v Value) Elems() (iter.Seq2[int, Value], error) {
	s, ok := v.n.(*seq)
	if !ok {
		return nil, v.want("a list")
	}
	return func(yield func(int, Value) bool) {
		for i, e := range s.elems {
			if !yield(i, v.child(int64(i), e)) {
				return
			}
		}
	}, nil
}

// Class returns the module and name of an inert name, or of what an inert call
// calls: the class of an object.
func (v Value) Class() (module, name string, ok bool) {
	n := v.n
	if o, isCall := n.(*object); isCall {
		n = o.callee
	}
	g, ok := n.(*global)
	if !ok {
		return "", "", false
	}
	return g.module, g.name, true
}

// Args returns the arguments of an inert call, a tuple.
func (v Value) Args() Value {
	if o, ok := v.n.(*object); ok {
		return v.child(part("args"), o.args)
	}
	return v.invalid("an object")
}

// State returns what an inert object was given as its state: usually the dict of
// its attributes, which Get looks into by itself. None if there was no state.
func (v Value) State() Value {
	switch o, ok := v.n.(*object); {
	case ok && o.state != nil:
		return v.child(part("state"), o.state)
	case ok:
		return v.child(part("state"), none{})
	}
	return v.invalid("an object")
}

func (v Value) invalid(wanted string) Value {
	err := v.want(wanted)
	if e, ok := err.(*Error); ok {
		return Value{e, v.at}
	}
	return Value{}
}

// Enum returns the value of a member of an enumeration, whose pickle is an inert
// call with that value as its only argument. Anything else is returned as it is.
func (v Value) Enum() Value {
	o, ok := v.n.(*object)
	if !ok || len(o.args.elems) != 1 || o.state != nil || o.items != nil || o.elems != nil || o.kwargs != nil {
		return v
	}
	switch o.args.elems[0].(type) {
	case string, int64:
		return Value{o.args.elems[0], v.at}
	}
	return v
}

// All visits the value and everything below it, each object once however often
// it is mentioned, depth first. Keys of dicts that are objects are visited too.
func (v Value) All() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		seen := make(map[node]struct{})
		todo := []Value{v}
		for len(todo) > 0 {
			v := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			switch v.n.(type) {
			case *seq, *dict, *object, *Tensor, *Storage:
				if _, again := seen[v.n]; again {
					continue
				}
				seen[v.n] = struct{}{}
			}
			if !yield(v) {
				return
			}
			todo = v.below(todo)
		}
	}
}

// below appends the values under v to list, the first last.
func (v Value) below(list []Value) []Value {
	addAll := func(v Value, elems []node) {
		for i := len(elems) - 1; i >= 0; i-- {
			list = append(list, v.child(int64(i), elems[i]))
		}
	}
	switch n := v.n.(type) {
	case *seq:
		addAll(v, n.elems)
	case *dict:
		for i := len(n.keys) - 1; i >= 0; i-- {
			list = append(list, v.child(n.keys[i], n.vals[i]))
			switch n.keys[i].(type) {
			case *seq, *object:
				list = append(list, v.child(part("key"), n.keys[i]))
			}
		}
	case *object:
		addAll(v, n.elems)
		if n.items != nil {
			list = append(list, v.child(part("items"), n.items))
		}
		if n.kwargs != nil {
			list = append(list, v.child(part("kwargs"), n.kwargs))
		}
		if n.state != nil {
			list = append(list, v.child(part("state"), n.state))
		}
		list = append(list, v.child(part("args"), n.args))
	}
	return list
}
