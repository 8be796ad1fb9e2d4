package pickle

import (
	"errors"
	"maps"
	"unicode/utf8"
)

// Rules is an allow-list: it says what dotted names stand for. Names that it
// lacks become inert nodes.
type Rules map[string]Rule

// A Rule says what one name stands for: a value, or what a call of it makes. The
// zero Rule is a name that is known and inert.
type Rule struct {
	value node
	call  func(*decoder, []node) (node, error)
}

// errInert is returned by a rule whose arguments hold an inert node or a form
// that it does not know: the call stays inert as well.
var errInert = errors.New("inert argument")

// Rules for other allow-lists than Torch.
var (
	// Dict makes a dict from no argument, a dict, or a list of pairs.
	Dict = Rule{call: callDict}
	// Enum is an enumeration class: a call gives the member's value.
	Enum = Rule{call: callEnum}
)

// Torch returns the allow-list for what torch.save writes: containers of the
// standard library, tensors, storages, dtypes, torch.Size. The caller may add to
// it.
func Torch() Rules { return maps.Clone(torchRules) }

var torchRules = func() Rules {
	rules := Rules{
		"collections.OrderedDict": Dict,
		"collections.defaultdict": {call: callDefaultDict},
		"collections.Counter":     Dict,
		"_codecs.encode":          {call: callEncode},
		"codecs.encode":           {call: callEncode},
		"copyreg._reconstructor":  {call: callReconstructor},
		"copy_reg._reconstructor": {call: callReconstructor},
	}
	for _, m := range []string{"builtins.", "__builtin__."} {
		rules[m+"set"] = Rule{call: callSeq(Set)}
		rules[m+"frozenset"] = Rule{call: callSeq(Set)}
		rules[m+"list"] = Rule{call: callSeq(List)}
		rules[m+"tuple"] = Rule{call: callSeq(Tuple)}
		rules[m+"dict"] = Dict
		rules[m+"bytearray"] = Rule{call: callBytes}
		rules[m+"bytes"] = Rule{call: callBytes}
	}
	addTensorRules(rules)
	return rules
}()

// callDict follows dict(), dict(mapping) and dict(pairs).
func callDict(d *decoder, args []node) (node, error) {
	out := &dict{off: d.ins.off}
	if err := d.charge(dictCost); err != nil || len(args) == 0 {
		return out, err
	}
	switch from := args[0].(type) {
	case *dict:
		for i, k := range from.keys {
			if err := d.setItem(out, k, from.vals[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case *seq:
		for _, e := range from.elems {
			pair, ok := e.(*seq)
			if !ok || len(pair.elems) != 2 {
				return nil, errInert
			}
			if err := d.setItem(out, pair.elems[0], pair.elems[1]); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return nil, errInert
}

func callDefaultDict(d *decoder, args []node) (node, error) {
	return callDict(d, args[min(1, len(args)):]) // the factory is of no use here
}

func callEnum(_ *decoder, args []node) (node, error) {
	if len(args) != 1 {
		return nil, errInert
	}
	return args[0], nil
}

func callSeq(kind Kind) func(*decoder, []node) (node, error) {
	return func(d *decoder, args []node) (node, error) {
		if len(args) == 0 {
			return d.newSeq(kind, nil)
		}
		from, ok := args[0].(*seq)
		if !ok || len(args) > 1 {
			return nil, errInert
		}
		s, err := d.newSeq(kind, from.elems)
		if err != nil {
			return nil, err
		}
		// A copy that could be released would be work of any length for a few
		// bytes of input.
		keep(s)
		d.releaseArg(from)
		return s, nil
	}
}

// callEncode is how protocols 0 to 2 write bytes: text whose characters are the
// bytes, encoded as latin1.
func callEncode(d *decoder, args []node) (node, error) {
	if len(args) != 2 {
		return nil, errInert
	}
	text, ok := args[0].(string)
	if enc, _ := args[1].(string); !ok || enc != "latin1" && enc != "latin-1" {
		return nil, errInert
	}
	if err := d.charge(utf8.RuneCountInString(text) + 2*scalarCost); err != nil {
		return nil, err
	}
	b := make([]byte, 0, utf8.RuneCountInString(text))
	for _, r := range text {
		if r > 0xff {
			return nil, d.syntax("character %U in bytes", r)
		}
		b = append(b, byte(r))
	}
	return b, nil
}

// callBytes is for empty bytes, and for a bytearray.
func callBytes(d *decoder, args []node) (node, error) {
	switch len(args) {
	case 0:
		return []byte{}, nil
	case 2:
		return callEncode(d, args)
	}
	if b, ok := args[0].([]byte); ok && len(args) == 1 {
		return b, nil // bytes are never modified, so they can be shared
	}
	return nil, errInert
}

// callReconstructor is how protocols 0 and 1 make objects: (class, base, state).
func callReconstructor(d *decoder, args []node) (node, error) {
	if len(args) == 0 {
		return nil, errInert
	}
	rest, err := d.newSeq(Tuple, args[1:])
	if err != nil {
		return nil, err
	}
	return d.inert(args[0], rest)
}
