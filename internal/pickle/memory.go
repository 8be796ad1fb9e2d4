package pickle

import (
	"fmt"
	"unsafe"
)

const (
	// maxInline is the longest string that is loaded.
	maxInline = 1 << 20
	// maxStack bounds the work stack: the longest tuple, since pickle writes lists
	// and dicts in portions of 1000.
	maxStack = 1 << 18
	// maxMarks bounds nesting. Python's own pickler gives up at 1000.
	maxMarks = 1 << 14
)

// Memory that the nodes take, with what Go's allocator and interfaces add.
const (
	slotCost   = int(unsafe.Sizeof(node(nil)))
	growCost   = 3 * slotCost // an element of a growing slice: old and new exist at once
	scalarCost = 16
	seqCost    = 64
	dictCost   = 96
	keyCost    = 96
	globalCost = 80
	objectCost = 144
	memoCost   = 96 // an entry of fetched and one of memo
	tensorCost = 64
	// storageCost includes the entry in the map of storages.
	storageCost = 208
)

// charge accounts for memory before it is allocated. But for release nothing is
// given back, so it bounds the work of copying too.
func (d *decoder) charge(n int) error {
	if d.budget -= int64(n); d.budget < 0 {
		return &Error{Offset: d.ins.off, Message: "the pickle needs more memory than allowed", Err: ErrLimit}
	}
	return nil
}

// release gives back what a tuple was charged for that a call has consumed, if
// nothing else holds it. Such tuples are most of a pickle of tensors. Each was
// made of values that the input pushed one by one, so the work stays linear.
func (d *decoder) release(n node) {
	if s, ok := n.(*seq); ok && s.kind == Tuple && !s.kept {
		s.kept = true
		d.budget += int64(seqCost + slotCost*len(s.elems))
	}
}

// releaseArg releases an argument of the call that a rule evaluates.
func (d *decoder) releaseArg(n node) {
	if !d.args.kept {
		d.release(n)
	}
}

// keep notes that n is held by more than the stack.
func keep(n node) {
	if s, ok := n.(*seq); ok {
		s.kept = true
	}
}

func (d *decoder) push(n node) error {
	if len(d.stack) == maxStack {
		return &Error{Offset: d.ins.off, Message: fmt.Sprintf("more than %d values on the stack", maxStack), Err: ErrLimit}
	}
	d.stack = append(d.stack, n)
	return nil
}

// scalar pushes a value that takes memory of its own.
func (d *decoder) scalar(n node) error {
	if err := d.charge(scalarCost); err != nil {
		return err
	}
	return d.push(n)
}

// floor is how far the stack may be popped.
func (d *decoder) floor() int {
	if len(d.marks) == 0 {
		return 0
	}
	return d.marks[len(d.marks)-1]
}

func (d *decoder) pop() (node, error) {
	if len(d.stack) == d.floor() {
		return nil, d.syntax("%v on an empty stack", &d.ins)
	}
	n := d.stack[len(d.stack)-1]
	d.stack[len(d.stack)-1] = nil
	d.stack = d.stack[:len(d.stack)-1]
	return n, nil
}

func (d *decoder) top() (node, error) {
	if len(d.stack) == d.floor() {
		return nil, d.syntax("%v on an empty stack", &d.ins)
	}
	return d.stack[len(d.stack)-1], nil
}

// popMark returns what was pushed since the last mark, valid until the next
// push.
func (d *decoder) popMark() ([]node, error) {
	if len(d.marks) == 0 {
		return nil, d.syntax("%v without a mark", &d.ins)
	}
	at := d.floor()
	d.marks = d.marks[:len(d.marks)-1]
	items := d.stack[at:]
	d.stack = d.stack[:at]
	return items, nil
}

// newSeq returns a list, tuple or set that holds a copy of elems.
func (d *decoder) newSeq(kind Kind, elems []node) (*seq, error) {
	if err := d.charge(seqCost + slotCost*len(elems)); err != nil {
		return nil, err
	}
	s := &seq{kind: kind, off: d.ins.off}
	if len(elems) > 0 {
		s.elems = append(make([]node, 0, len(elems)), elems...)
	}
	return s, nil
}

func (d *decoder) setItem(to *dict, k, v node) error {
	cost := keyCost
	if s, ok := k.(string); ok {
		cost += len(s) / 16 // the work of hashing it, even if it is set again and again
	}
	if err := d.charge(cost); err != nil {
		return err
	}
	to.set(k, v)
	return nil
}
