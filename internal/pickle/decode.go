package pickle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"unicode/utf8"
)

// Options says how to read. Nil means the defaults.
type Options struct {
	// Name of the input, for messages.
	Name string
	// Rules is the allow-list; nil means Torch().
	Rules Rules
	// MaxMemory limits what the result and the work on it take, in bytes; 0 means
	// DefaultMaxMemory.
	MaxMemory int64
}

// DefaultMaxMemory suffices for some 40,000 tensors with their names. What Go's
// garbage collector needs comes on top: up to as much again.
const DefaultMaxMemory = 32 << 20

// A Document is a pickle that has been read.
type Document struct {
	Root Value
	// Storages lists what the pickle's persistent ids name, each key once, in the
	// order of first mention.
	Storages []*Storage
	// Inert lists the names that the pickle holds and the rules lack, each once,
	// in the order of first mention.
	Inert []string
	// End is the offset after the pickle.
	End int64
}

// Read reads the pickle that lies at [begin, end) of r; it may end earlier. The
// errors are those of ctx and r, and *Error.
func Read(ctx context.Context, r io.ReaderAt, begin, end int64, o *Options) (*Document, error) {
	if o == nil {
		o = &Options{}
	}
	d := &decoder{
		in:       input{ctx: ctx, r: r, pos: begin, end: end},
		rules:    o.Rules,
		budget:   o.MaxMemory,
		storages: make(map[string]*Storage),
		globals:  make(map[string]*global),
	}
	if d.rules == nil {
		d.rules = torchRules
	}
	if d.budget == 0 {
		d.budget = DefaultMaxMemory
	}
	root, err := d.read(begin)
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.Name = o.Name
		}
		return nil, err
	}
	at := &place{name: o.Name, off: begin}
	if off := offsetOf(root); off >= 0 {
		at.off = off
	}
	return &Document{Root: Value{n: root, at: at}, Storages: d.order, Inert: d.inertNames, End: d.in.pos}, nil
}

// decoder is the machine that a pickle is a program for.
type decoder struct {
	in     input
	ins    instruction
	rules  Rules
	budget int64

	stack []node
	marks []int // lengths of the stack
	memo  map[uint64]node
	// fetched holds the memo indexes that the pickle reads; others are not kept.
	fetched map[uint64]struct{}
	memoize uint64 // the next index for MEMOIZE
	args    *seq   // of the call that a rule evaluates
	frame   int64  // the end of the last frame

	storages   map[string]*Storage
	order      []*Storage
	globals    map[string]*global
	inertNames []string
}

func (d *decoder) read(begin int64) (node, error) {
	if err := d.findFetched(); err != nil {
		return nil, err
	}
	d.in.pos = begin
	d.memo = make(map[uint64]node, len(d.fetched))
	for {
		var err error
		if d.ins, err = d.in.next(); err != nil {
			return nil, err
		}
		if d.ins.op == opStop {
			if len(d.stack) != 1 || len(d.marks) != 0 {
				return nil, d.syntax("%d values and %d marks at the end, want one value", len(d.stack), len(d.marks))
			}
			if d.frame > d.in.pos {
				return nil, d.syntax("a frame ends %d bytes after the pickle", d.frame-d.in.pos)
			}
			return d.stack[0], nil
		}
		if err := d.step(); err != nil {
			return nil, err
		}
	}
}

// findFetched is the first pass.
func (d *decoder) findFetched() error {
	d.fetched = make(map[uint64]struct{})
	puts, memoizes := false, false
	for {
		ins, err := d.in.next()
		if err != nil {
			return err
		}
		d.ins = ins
		switch ins.op {
		case opStop:
			if puts && memoizes {
				return d.syntax("both PUT and MEMOIZE") // which index MEMOIZE means is then a matter of the reader
			}
			return nil
		case opGet, opBinGet, opLongBinGet:
			i, err := ins.index()
			if err != nil {
				return err
			}
			if _, known := d.fetched[i]; !known {
				d.fetched[i] = struct{}{}
				if err := d.charge(memoCost); err != nil {
					return err
				}
			}
		case opPut, opBinPut, opLongBinPut:
			puts = true
		case opMemoize:
			memoizes = true
		}
		if ins.hasData() {
			d.in.pos += int64(ins.arg)
		}
	}
}

func (d *decoder) syntax(format string, args ...any) error {
	return &Error{Offset: d.ins.off, Message: fmt.Sprintf(format, args...), Err: ErrSyntax}
}

// text pushes a string, bytes or nothing but their place if they are long.
func (d *decoder) text(text bool) error {
	n := int64(d.ins.arg)
	if n > maxInline {
		l := &long{off: d.in.pos, size: n, text: text}
		d.in.pos += n
		if err := d.charge(seqCost); err != nil {
			return err
		}
		return d.push(l)
	}
	if err := d.charge(int(n) + 2*scalarCost); err != nil {
		return err
	}
	b, err := d.in.data(int(n))
	if err != nil {
		return err
	}
	if !text {
		return d.push(bytes.Clone(b))
	}
	return d.pushText(b)
}

// pushText pushes text in UTF-8. Python also writes lone surrogates
// ("surrogatepass"); they become U+FFFD.
func (d *decoder) pushText(b []byte) error {
	if s := string(b); utf8.ValidString(s) {
		return d.push(s)
	}
	s, ok := replaceSurrogates(b)
	if !ok {
		return d.syntax("%v that is not UTF-8", &d.ins)
	}
	return d.push(s)
}

func (d *decoder) put(i uint64) error {
	if _, wanted := d.fetched[i]; !wanted {
		_, err := d.top()
		return err
	}
	n, err := d.top()
	if err != nil {
		return err
	}
	keep(n)
	d.memo[i] = n
	return nil
}

func (d *decoder) get() error {
	i, err := d.ins.index()
	if err != nil {
		return err
	}
	n, ok := d.memo[i]
	if !ok {
		return d.syntax("%v of memo entry %d, which is not set", &d.ins, i)
	}
	return d.push(n)
}

// step executes one instruction other than STOP.
func (d *decoder) step() error {
	ins := &d.ins
	switch ins.op {
	case opProto:
		if ins.arg > 5 {
			return d.syntax("pickle protocol %d, want 0 to 5", ins.arg)
		}
		return nil
	case opFrame:
		if ins.arg > uint64(d.in.left()) {
			return d.in.truncated("frame of %d bytes, but only %d are left", ins.arg, d.in.left())
		}
		d.frame = d.in.pos + int64(ins.arg)
		return nil

	case opNone:
		return d.push(none{})
	case opNewTrue:
		return d.push(true)
	case opNewFalse:
		return d.push(false)
	case opBinInt:
		return d.scalar(int64(int32(ins.arg)))
	case opBinInt1:
		return d.push(int64(ins.arg)) // Go has these made already
	case opBinInt2:
		return d.scalar(int64(ins.arg))
	case opBinFloat:
		return d.scalar(math.Float64frombits(ins.arg))
	case opInt, opLong, opFloat, opString, opUnicode, opLong1, opLong4:
		n, err := d.literal()
		if err != nil {
			return err
		}
		return d.push(n)
	case opBinUnicode, opShortBinUnicode, opBinUnicode8:
		return d.text(true)
	case opBinString, opShortBinString:
		return d.byteString()
	case opBinBytes, opShortBinBytes, opBinBytes8, opByteArray8:
		return d.text(false)

	case opPop:
		if len(d.marks) > 0 && d.floor() == len(d.stack) {
			d.marks = d.marks[:len(d.marks)-1]
			return nil
		}
		_, err := d.pop()
		return err
	case opPopMark:
		_, err := d.popMark()
		return err
	case opDup:
		n, err := d.top()
		if err != nil {
			return err
		}
		keep(n)
		return d.push(n)
	case opMark:
		if len(d.marks) == maxMarks {
			return &Error{Offset: ins.off, Message: fmt.Sprintf("more than %d open marks", maxMarks), Err: ErrLimit}
		}
		d.marks = append(d.marks, len(d.stack))
		return nil

	case opGet, opBinGet, opLongBinGet:
		return d.get()
	case opPut, opBinPut, opLongBinPut:
		i, err := ins.index()
		if err != nil {
			return err
		}
		return d.put(i)
	case opMemoize:
		d.memoize++
		return d.put(d.memoize - 1)

	case opEmptyTuple, opEmptyList, opEmptySet, opTuple, opTuple1, opTuple2, opTuple3, opList, opFrozenSet,
		opAppend, opAppends, opAddItems, opEmptyDict, opDict, opSetItem, opSetItems:
		return d.container()
	case opGlobal, opStackGlobal, opReduce, opNewObj, opNewObjEx, opObj, opInst, opBuild, opPersID, opBinPersID:
		return d.call()
	}
	return d.syntax("%v, which torch and pickle.dump do not write", ins) // EXT, out-of-band buffers
}
