package pickle

// container executes the instructions that make and fill tuples, lists, sets and
// dicts.
func (d *decoder) container() error {
	switch d.ins.op {
	case opEmptyTuple:
		return d.pushSeq(Tuple, nil)
	case opEmptyList:
		return d.pushSeq(List, nil)
	case opEmptySet:
		return d.pushSeq(Set, nil)
	case opTuple1, opTuple2, opTuple3:
		n := int(d.ins.op-opTuple1) + 1
		if len(d.stack)-d.floor() < n {
			return d.syntax("%v with %d values on the stack", &d.ins, len(d.stack)-d.floor())
		}
		items := d.stack[len(d.stack)-n:]
		d.stack = d.stack[:len(d.stack)-n]
		return d.pushSeq(Tuple, items)
	case opTuple, opList, opFrozenSet:
		items, err := d.popMark()
		if err != nil {
			return err
		}
		kind := Tuple
		switch d.ins.op {
		case opList:
			kind = List
		case opFrozenSet:
			kind = Set
		}
		return d.pushSeq(kind, items)
	case opEmptyDict, opDict:
		var items []node
		if d.ins.op == opDict {
			var err error
			if items, err = d.popMark(); err != nil {
				return err
			}
		}
		if err := d.charge(dictCost); err != nil {
			return err
		}
		to := &dict{off: d.ins.off}
		if err := d.setItems(to, items); err != nil {
			return err
		}
		return d.push(to)
	case opAppend:
		item, err := d.pop()
		if err != nil {
			return err
		}
		return d.appendTo([]node{item})
	case opAppends, opAddItems:
		items, err := d.popMark()
		if err != nil {
			return err
		}
		return d.appendTo(items)
	case opSetItem:
		v, err := d.pop()
		if err != nil {
			return err
		}
		k, err := d.pop()
		if err != nil {
			return err
		}
		return d.setItemsOnTop([]node{k, v})
	default: // opSetItems
		items, err := d.popMark()
		if err != nil {
			return err
		}
		return d.setItemsOnTop(items)
	}
}

func (d *decoder) pushSeq(kind Kind, elems []node) error {
	s, err := d.newSeq(kind, elems)
	if err != nil {
		return err
	}
	return d.push(s)
}

// appendTo adds items to the list, set or inert object on the stack.
func (d *decoder) appendTo(items []node) error {
	to, err := d.top()
	if err != nil {
		return err
	}
	if err := d.charge(growCost * len(items)); err != nil {
		return err
	}
	switch to := to.(type) {
	case *seq:
		if to.kind == Tuple || (to.kind == Set) != (d.ins.op == opAddItems) {
			break
		}
		to.elems = append(to.elems, items...)
		return nil
	case *object:
		to.elems = append(to.elems, items...)
		return nil
	}
	return d.syntax("%v to %s", &d.ins, describe(to))
}

// setItemsOnTop sets pairs in the dict or inert object on the stack.
func (d *decoder) setItemsOnTop(items []node) error {
	to, err := d.top()
	if err != nil {
		return err
	}
	switch to := to.(type) {
	case *dict:
		return d.setItems(to, items)
	case *object:
		if to.items == nil {
			if err := d.charge(dictCost); err != nil {
				return err
			}
			to.items = &dict{off: d.ins.off}
		}
		return d.setItems(to.items, items)
	}
	return d.syntax("%v on %s", &d.ins, describe(to))
}

func (d *decoder) setItems(to *dict, items []node) error {
	if len(items)%2 != 0 {
		return d.syntax("%v with a key but no value", &d.ins)
	}
	for i := 0; i < len(items); i += 2 {
		if err := d.setItem(to, items[i], items[i+1]); err != nil {
			return err
		}
	}
	return nil
}
