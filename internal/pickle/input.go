package pickle

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
)

const (
	windowSize = 32 << 10
	// maxLine bounds the texts of protocol 0, which have no length to check.
	maxLine = maxInline
)

// An input reads opcodes from part of a source through a small window.
type input struct {
	ctx      context.Context
	r        io.ReaderAt
	pos, end int64
	window   []byte // bytes at [base, base+len(window))
	base     int64
	buf      []byte
	scratch  []byte // for what is longer than the window
}

// An instruction is one opcode. If the opcode carries data, the length of the
// data is in arg and the input stands before it.
type instruction struct {
	op   byte
	off  int64
	arg  uint64 // the integer, the bits of the float, the length of the data
	text []byte // the line, valid until the next read
	more []byte // the second line
}

func (i *instruction) String() string { return opcodes[i.op].name }

// hasData reports whether the input stands before data of i.arg bytes.
func (i *instruction) hasData() bool { return opcodes[i.op].form >= data1 }

func (in *input) left() int64 { return in.end - in.pos }

func (in *input) truncated(format string, args ...any) error {
	return &Error{Offset: in.pos, Message: fmt.Sprintf(format, args...), Err: ErrTruncated}
}

// fill makes the window start at the position and hold at least n bytes, which
// the caller has found to be left.
func (in *input) fill(n int) error {
	if err := in.ctx.Err(); err != nil {
		return err
	}
	if in.buf == nil {
		in.buf = make([]byte, min(windowSize, in.left()))
	}
	buf := in.buf[:min(int64(len(in.buf)), in.left())]
	got, err := in.r.ReadAt(buf, in.pos)
	in.window, in.base = buf[:got], in.pos
	if got >= n {
		return nil
	}
	return in.readError(err, n-got)
}

func (in *input) readError(err error, missing int) error {
	if err == io.EOF || err == nil {
		return in.truncated("the input is %d bytes shorter than its size", missing)
	}
	return err
}

// take returns the next n bytes, at most windowSize, valid until the next call.
func (in *input) take(n int) ([]byte, error) {
	if int64(n) > in.left() {
		return nil, in.truncated("the pickle ends %d bytes too early", int64(n)-in.left())
	}
	at := in.pos - in.base
	if at < 0 || at+int64(n) > int64(len(in.window)) {
		if err := in.fill(n); err != nil {
			return nil, err
		}
		at = 0
	}
	in.pos += int64(n)
	return in.window[at : at+int64(n)], nil
}

// line returns the text up to the next newline, valid until the next call.
func (in *input) line() ([]byte, error) {
	in.scratch = in.scratch[:0] // what of the line lay in earlier windows
	for {
		at := in.pos - in.base
		if at < 0 || at >= int64(len(in.window)) {
			if in.left() == 0 {
				return nil, in.truncated("the pickle ends inside a line of text")
			}
			if err := in.fill(1); err != nil {
				return nil, err
			}
			at = 0
		}
		rest := in.window[at:]
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			in.pos += int64(i) + 1
			if len(in.scratch) == 0 {
				return rest[:i], nil
			}
			in.scratch = append(in.scratch, rest[:i]...)
			return in.scratch, nil
		}
		if len(in.scratch)+len(rest) > maxLine {
			return nil, &Error{Offset: in.pos, Message: fmt.Sprintf("line of text longer than %d bytes", maxLine), Err: ErrLimit}
		}
		in.scratch = append(in.scratch, rest...)
		in.pos += int64(len(rest))
	}
}

// data returns the next n bytes, which the caller knows to be left and to be few,
// valid until the next call.
func (in *input) data(n int) ([]byte, error) {
	if n <= windowSize {
		return in.take(n)
	}
	p := slices.Grow(in.scratch[:0], n)[:n]
	in.scratch = p
	got, err := in.r.ReadAt(p, in.pos)
	if got < n {
		return nil, in.readError(err, n-got)
	}
	in.pos += int64(n)
	return p, nil
}

// next reads an opcode and what follows it, but not its data.
func (in *input) next() (ins instruction, err error) {
	ins.off = in.pos
	b, err := in.take(1)
	if err != nil {
		return ins, err
	}
	ins.op = b[0]
	switch opcodes[ins.op].form {
	case bare:
	case fixed1, data1:
		ins.arg, err = in.uint(1)
	case fixed2:
		ins.arg, err = in.uint(2)
	case fixed4, data4:
		ins.arg, err = in.uint(4)
	case fixed8, data8:
		ins.arg, err = in.uint(8)
	case float8:
		if b, err = in.take(8); err == nil {
			ins.arg = binary.BigEndian.Uint64(b)
		}
	case line:
		ins.text, err = in.line()
	case line2:
		if ins.text, err = in.line(); err == nil {
			ins.text = bytes.Clone(ins.text)
			ins.more, err = in.line()
		}
	default:
		return ins, &Error{Offset: ins.off, Message: fmt.Sprintf("0x%02x is no pickle opcode", ins.op), Err: ErrSyntax}
	}
	if err == nil && ins.hasData() && ins.arg > uint64(in.left()) {
		err = in.truncated("%s of %d bytes, but only %d are left", opcodes[ins.op].name, ins.arg, in.left())
	}
	return ins, err
}

func (in *input) uint(size int) (uint64, error) {
	b, err := in.take(size)
	if err != nil {
		return 0, err
	}
	var x uint64
	for i, c := range b {
		x |= uint64(c) << (8 * i)
	}
	return x, nil
}

// index returns the memo index that a GET or PUT names.
func (i *instruction) index() (uint64, error) {
	if opcodes[i.op].form != line {
		return i.arg, nil
	}
	n, err := strconv.ParseUint(string(i.text), 10, 64)
	if err != nil || n > math.MaxUint32 {
		return 0, &Error{Offset: i.off, Message: fmt.Sprintf("memo index %.20q is not a number", i.text), Err: ErrSyntax}
	}
	return n, nil
}
