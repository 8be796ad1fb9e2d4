package pickle

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// call executes the instructions that name, call and fill objects.
func (d *decoder) call() error {
	switch d.ins.op {
	case opGlobal:
		n, err := d.lookUp(string(d.ins.text), string(d.ins.more))
		if err != nil {
			return err
		}
		return d.push(n)
	case opStackGlobal:
		name, err := d.pop()
		if err != nil {
			return err
		}
		module, err := d.pop()
		if err != nil {
			return err
		}
		m, ok1 := module.(string)
		s, ok2 := name.(string)
		if !ok1 || !ok2 {
			return d.syntax("STACK_GLOBAL of %s and %s, want two strings", describe(module), describe(name))
		}
		n, err := d.lookUp(m, s)
		if err != nil {
			return err
		}
		return d.push(n)
	case opReduce, opNewObj:
		args, err := d.pop()
		if err != nil {
			return err
		}
		return d.apply(args, nil)
	case opNewObjEx:
		kwargs, err := d.pop()
		if err != nil {
			return err
		}
		if _, ok := kwargs.(*dict); !ok {
			return d.syntax("keyword arguments are %s, want a dict", describe(kwargs))
		}
		args, err := d.pop()
		if err != nil {
			return err
		}
		return d.apply(args, kwargs)
	case opObj, opInst:
		return d.instance()
	case opBuild:
		return d.build()
	case opPersID:
		if err := d.charge(len(d.ins.text) + 2*scalarCost); err != nil {
			return err
		}
		return d.persistent(string(d.ins.text))
	default: // opBinPersID
		id, err := d.pop()
		if err != nil {
			return err
		}
		return d.persistent(id)
	}
}

// maxName bounds the work on names.
const maxName = 1000

// lookUp returns what module.name stands for.
func (d *decoder) lookUp(module, name string) (node, error) {
	if len(module)+len(name) > maxName {
		return nil, d.syntax("%v of a name of %d bytes", &d.ins, len(module)+len(name))
	}
	full := module + "." + name
	if g := d.globals[full]; g != nil && g.module == module {
		return g, nil
	}
	if unsafeGlobal(module, name) {
		return nil, &Error{Offset: d.ins.off, Global: full, Message: fmt.Sprintf("the pickle names %s, which is not allowed; nothing was run", printable(full)), Err: ErrUnsafe}
	}
	if !utf8.ValidString(full) || module == "" || name == "" {
		return nil, d.syntax("%v of the module %s and the name %s", &d.ins, printable(module), printable(name))
	}
	rule, known := d.rules[full]
	if known && rule.value != nil {
		return rule.value, nil
	}
	if err := d.charge(globalCost + 2*len(full)); err != nil {
		return nil, err
	}
	g := &global{module: module, name: name, off: d.ins.off}
	if known {
		g.rule = &rule
	} else if d.globals[full] == nil {
		d.inertNames = append(d.inertNames, full)
	}
	d.globals[full] = g
	return g, nil
}

// apply replaces the callable on the stack by its result for args.
func (d *decoder) apply(args, kwargs node) error {
	callee, err := d.pop()
	if err != nil {
		return err
	}
	in, ok := args.(*seq)
	if !ok || in.kind != Tuple {
		return d.syntax("arguments are %s, want a tuple", describe(args))
	}
	n, err := d.result(callee, in, kwargs)
	if err != nil {
		return err
	}
	return d.push(n)
}

func (d *decoder) result(callee node, args *seq, kwargs node) (node, error) {
	g, ok := callee.(*global)
	noKwargs := kwargs == nil || len(kwargs.(*dict).keys) == 0
	if ok && g.rule != nil && g.rule.call != nil && noKwargs {
		d.args = args
		n, err := g.rule.call(d, args.elems)
		if !errors.Is(err, errInert) {
			d.release(args)
			return n, err
		}
	}
	switch callee.(type) {
	case *global, *object, storageClass, DType:
	default:
		return nil, d.syntax("call of %s", describe(callee))
	}
	o, err := d.inert(callee, args)
	if err != nil {
		return nil, err
	}
	o.kwargs = kwargs
	return o, nil
}

func (d *decoder) inert(callee node, args *seq) (*object, error) {
	if err := d.charge(objectCost); err != nil {
		return nil, err
	}
	return &object{off: d.ins.off, callee: callee, args: args}, nil
}

// instance executes the calls of protocols 0 and 1, whose arguments follow a
// mark: of OBJ the class is the first.
func (d *decoder) instance() error {
	var callee node
	if d.ins.op == opInst {
		var err error
		if callee, err = d.lookUp(string(d.ins.text), string(d.ins.more)); err != nil {
			return err
		}
	}
	items, err := d.popMark()
	if err != nil {
		return err
	}
	if callee == nil {
		if len(items) == 0 {
			return d.syntax("OBJ without a class")
		}
		callee, items = items[0], items[1:]
	}
	args, err := d.newSeq(Tuple, items)
	if err != nil {
		return err
	}
	n, err := d.result(callee, args, nil)
	if err != nil {
		return err
	}
	return d.push(n)
}

// build gives a state to the object on the stack. Dicts have one too (the
// _metadata of a state dict); it is dropped.
func (d *decoder) build() error {
	state, err := d.pop()
	if err != nil {
		return err
	}
	to, err := d.top()
	if err != nil {
		return err
	}
	switch to := to.(type) {
	case *object:
		to.state = state
		return nil
	case *dict:
		return nil
	}
	return d.syntax("BUILD on %s", describe(to))
}

// persistent pushes what a persistent id stands for.
func (d *decoder) persistent(id node) error {
	n, err := d.torchStorage(id)
	if errors.Is(err, errInert) {
		var args *seq
		if args, err = d.newSeq(Tuple, []node{id}); err != nil {
			return err
		}
		o, err := d.inert(none{}, args)
		if err != nil {
			return err
		}
		o.pid = true
		return d.push(o)
	}
	if err != nil {
		return err
	}
	d.release(id)
	return d.push(n)
}
