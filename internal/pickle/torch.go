package pickle

import (
	"fmt"
	"slices"
)

// addTensorRules adds the names that torch.save uses. Sources: PyTorch 2.15,
// torch/_utils.py, torch/_tensor.py, torch/storage.py.
func addTensorRules(rules Rules) {
	for i := 1; i < len(dtypes); i++ {
		rules["torch."+dtypes[i].name] = Rule{value: DType(i)}
	}
	for class, name := range map[string]string{
		"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
		"LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
		"BoolStorage": "bool", "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128",
		"QInt8Storage": "qint8", "QUInt8Storage": "quint8", "QInt32Storage": "qint32",
	} {
		rule := Rule{value: storageClass{dtypeNamed(name)}}
		rules["torch."+class] = rule
		rules["torch.cuda."+class] = rule // torch < 1.6
	}
	untyped := Rule{value: storageClass{dtypeNamed("uint8")}}
	rules["torch.storage.UntypedStorage"] = untyped
	rules["torch.storage._UntypedStorage"] = untyped // torch 1.12
	rules["torch.UntypedStorage"] = untyped

	rules["torch._utils._rebuild_tensor"] = Rule{call: rebuildTensor}
	rules["torch._utils._rebuild_tensor_v2"] = Rule{call: rebuildTensorV2}
	rules["torch._utils._rebuild_tensor_v3"] = Rule{call: rebuildTensorV3}
	rules["torch._utils._rebuild_parameter"] = Rule{call: rebuildParameter}
	rules["torch._utils._rebuild_parameter_with_state"] = Rule{call: rebuildParameter}
	rules["torch._tensor._rebuild_from_type"] = Rule{call: rebuildFromType}
	rules["torch._tensor._rebuild_from_type_v2"] = Rule{call: rebuildFromType}
	rules["torch.Size"] = Rule{call: callSeq(Tuple)}
	rules["torch.device"] = Rule{call: callDevice}
	for _, class := range tensorTypes {
		rules[class] = Rule{}
	}
}

// A storageClass is a name such as torch.FloatStorage.
type storageClass struct{ dtype DType }

// torchStorage reads a persistent id of torch: ("storage", class, key, location,
// numel) and, in the legacy format, None or (view key, offset, numel).
func (d *decoder) torchStorage(id node) (node, error) {
	t, ok := id.(*seq)
	if !ok || t.kind != Tuple || len(t.elems) < 5 || len(t.elems) > 6 || t.elems[0] != node("storage") {
		return nil, errInert
	}
	class, ok := t.elems[1].(storageClass)
	if !ok {
		return nil, errInert
	}
	key, ok1 := t.elems[2].(string)
	location, ok2 := t.elems[3].(string)
	numel, ok3 := t.elems[4].(int64)
	if !ok1 || !ok2 || !ok3 || numel < 0 || len(key) > maxName {
		return nil, d.syntax("storage with key %s, location %s and %s elements", describe(t.elems[2]), describe(t.elems[3]), describe(t.elems[4]))
	}
	bytes, ok := mul(numel, class.dtype.Size())
	if !ok {
		return nil, d.syntax("storage %s of %d elements", printable(key), numel)
	}
	s := &Storage{Key: key, Location: location, DType: class.dtype, Numel: numel, off: d.ins.off, size: numel}
	if len(t.elems) == 6 {
		if err := d.viewOfStorage(s, t.elems[5]); err != nil {
			return nil, err
		}
	}
	known := d.storages[key]
	if known != nil && known.Bytes() != bytes {
		return nil, d.syntax("storage %s has %d bytes here and %d bytes elsewhere", printable(key), bytes, known.Bytes())
	}
	if known != nil && known.DType == s.DType && known.view == s.view && known.size == s.size {
		return known, nil
	}
	if err := d.charge(storageCost); err != nil {
		return nil, err
	}
	if known == nil {
		d.storages[key] = s
		d.order = append(d.order, s)
	}
	return s, nil
}

func (d *decoder) viewOfStorage(s *Storage, view node) error {
	if view == node(none{}) {
		return nil
	}
	if t, ok := view.(*seq); ok && len(t.elems) == 3 {
		first, ok1 := t.elems[1].(int64)
		size, ok2 := t.elems[2].(int64)
		if ok1 && ok2 && first >= 0 && size >= 0 && first <= s.Numel && size <= s.Numel-first {
			s.view, s.size = first, size
			return nil
		}
	}
	return d.syntax("storage %s with a view that is not inside it", printable(s.Key))
}

// rebuildTensor is (storage, offset, size, stride).
func rebuildTensor(d *decoder, args []node) (node, error) {
	if len(args) != 4 {
		return nil, errInert
	}
	return d.tensor(args, 0, nil)
}

// rebuildTensorV2 is (storage, offset, size, stride, requires_grad, hooks) and
// perhaps metadata.
func rebuildTensorV2(d *decoder, args []node) (node, error) {
	if len(args) < 6 || len(args) > 7 {
		return nil, errInert
	}
	return d.tensor(args, 0, args[6:])
}

// rebuildTensorV3 has the dtype after the hooks.
func rebuildTensorV3(d *decoder, args []node) (node, error) {
	if len(args) < 7 || len(args) > 8 {
		return nil, errInert
	}
	dtype, ok := args[6].(DType)
	if !ok {
		return nil, errInert
	}
	return d.tensor(args, dtype, args[7:])
}

// tensor builds a tensor of the storage's dtype, or of the one given. Metadata
// that is not empty says that the bytes are to be read conjugated or negated;
// such a tensor stays inert.
func (d *decoder) tensor(args []node, dtype DType, metadata []node) (node, error) {
	for _, m := range metadata {
		if md, ok := m.(*dict); m != node(none{}) && (!ok || len(md.keys) > 0) {
			return nil, errInert
		}
	}
	s, ok := args[0].(*Storage)
	if !ok {
		return nil, errInert
	}
	if dtype == 0 {
		dtype = s.DType
	}
	offset, ok1 := args[1].(int64)
	shape, ok2 := ints(args[2])
	strides, ok3 := ints(args[3])
	if !ok1 || !ok2 || !ok3 {
		return nil, d.syntax("tensor with offset %s, shape %s and strides %s", describe(args[1]), describe(args[2]), describe(args[3]))
	}
	if err := d.charge(tensorCost + 16*len(shape)); err != nil {
		return nil, err
	}
	t, err := newTensor(s, dtype, offset, shape, strides)
	if err != nil {
		return nil, d.syntax("%v", err)
	}
	t.off = d.ins.off
	if len(args) > 4 {
		t.RequiresGrad = args[4] == node(true)
	}
	d.releaseArg(args[2])
	d.releaseArg(args[3])
	return t, nil
}

// ints returns the elements of a list or tuple of ints, if it is one of at most
// maxDims+1.
func ints(n node) ([]int64, bool) {
	s, ok := n.(*seq)
	if !ok || len(s.elems) > maxDims+1 {
		return nil, false
	}
	out := make([]int64, len(s.elems))
	for i, e := range s.elems {
		if out[i], ok = e.(int64); !ok {
			return nil, false
		}
	}
	return out, true
}

// rebuildParameter is (tensor, requires_grad, hooks) and perhaps a state.
func rebuildParameter(d *decoder, args []node) (node, error) {
	if len(args) < 3 || len(args) > 4 {
		return nil, errInert
	}
	t, ok := args[0].(*Tensor)
	if !ok {
		return nil, errInert
	}
	if err := d.charge(tensorCost); err != nil {
		return nil, err
	}
	p := *t
	p.RequiresGrad = args[1] == node(true)
	return &p, nil
}

// tensorTypes are the classes whose value is their bytes.
var tensorTypes = []string{"torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"}

// rebuildFromType is (function, type, arguments, state): how torch saves tensors
// that carry attributes or are of a subclass. Attributes are dropped; tensors of
// other subclasses stay inert, since their bytes need not be their value.
func rebuildFromType(d *decoder, args []node) (node, error) {
	if len(args) != 4 {
		return nil, errInert
	}
	fn, ok1 := args[0].(*global)
	class, ok2 := args[1].(*global)
	in, ok3 := args[2].(*seq)
	if !ok1 || !ok2 || !ok3 || fn.rule == nil || fn.rule.call == nil || fn.module == "torch._tensor" {
		return nil, errInert
	}
	if !slices.Contains(tensorTypes, class.String()) {
		return nil, errInert
	}
	outer := d.args
	if outer.kept {
		keep(in)
	}
	d.args = in
	n, err := fn.rule.call(d, in.elems)
	d.args = outer
	if err == nil {
		d.releaseArg(in)
	}
	return n, err
}

// callDevice gives "cuda:1" for device("cuda", 1).
func callDevice(d *decoder, args []node) (node, error) {
	if len(args) == 0 || len(args) > 2 {
		return nil, errInert
	}
	kind, ok := args[0].(string)
	if !ok {
		return nil, errInert
	}
	if len(args) == 2 {
		index, ok := args[1].(int64)
		if !ok {
			return nil, errInert
		}
		kind = fmt.Sprintf("%s:%d", kind, index)
	}
	return kind, d.charge(len(kind) + 2*scalarCost)
}
