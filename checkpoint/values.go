package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// valueBlock is how many bytes are read at a time; a multiple of every element's
// size.
const valueBlock = 4 << 20

// checkValues reads all tensors and looks for NaN, infinities and matrices of zeros. Which copies of
// tied tensors differ is said by checkTies.
func checkValues(v *validation) error {
	if !v.o.Values {
		return nil
	}
	buf := make([]byte, valueBlock)
	for _, f := range v.c.openFiles() {
		for _, t := range f.All() {
			if err := v.checkTensorValues(f, t, buf); err != nil {
				return err
			}
		}
	}
	if err := v.checkTies(); err != nil {
		return err
	}
	return v.checkAdapterValues()
}

// openFiles returns every safetensors file that was accepted.
func (c *Checkpoint) openFiles() []*safetensors.File {
	var files []*safetensors.File
	if c.model != nil {
		for _, s := range c.model.Files() {
			if s.File != nil {
				files = append(files, s.File)
			}
		}
	}
	for _, a := range c.adapters {
		if a.weights != nil && a.weights.file != nil {
			files = append(files, a.weights.file)
		}
	}
	if c.file != nil && c.file.file != nil {
		files = append(files, c.file.file)
	}
	return files
}

func (v *validation) checkTensorValues(f *safetensors.File, t safetensors.Tensor, buf []byte) error {
	info := t.Info()
	count := counters[info.DType]
	if count == nil {
		return nil
	}
	var sum found
	zero := len(info.Shape) > 1 && info.Elements() > 1 && !v.c.inAdapter(f) // of an adapter's zeros peft.CheckValues knows more
	for done := uint64(0); done < info.Bytes(); {
		if err := v.ctx.Err(); err != nil {
			return err
		}
		block := buf[:min(uint64(len(buf)), info.Bytes()-done)]
		if _, err := t.Open().ReadAt(block, int64(done)); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: %w", diag.Name(f.Name()), err)
		}
		sum.add(count(block), done)
		zero = zero && bytes.Count(block, []byte{0}) == len(block)
		done += uint64(len(block))
		v.progress(int64(len(block)))
	}
	for _, kind := range []struct {
		code  diag.Code
		what  string
		count uint64
		first uint64
		cause string
	}{
		{diag.ValueNaN, "NaN", sum.nan, sum.firstNaN, "training diverged (look for a NaN loss in trainer_state.json), or the bytes are damaged"},
		{diag.ValueInf, "infinite", sum.inf, sum.firstInf, "an overflow: in training, or when the weights were cast to a 16-bit or 8-bit type"},
	} {
		if kind.count == 0 {
			continue
		}
		p := diag.New(kind.code, "%s: %d of %d elements are %s", diag.Name(info.Name), kind.count, info.Elements(), kind.what)
		p.File, p.Tensor = f.Name(), info.Name
		p.Offset = diag.At(f.Header().DataStart() + int64(info.Begin+kind.first))
		p.Want, p.Got = "finite values", fmt.Sprintf("%d %s", kind.count, kind.what)
		p.Cause, p.Fix = kind.cause, "go back to an earlier checkpoint: verify --values each of them to find the last clean one"
		v.add(p)
	}
	if zero {
		p := diag.New(diag.ValueZero, "%s: all %d elements are zero", diag.Name(info.Name), info.Elements())
		p.File, p.Tensor = f.Name(), info.Name
		p.Offset = diag.At(f.Header().DataStart() + int64(info.Begin))
		p.Want, p.Got = "weights", "zeros"
		p.Cause = "the bytes were never written (an interrupted copy or download into a file made at its full size), or the tensor was saved while another process held it; a part that starts at zero and was never trained looks the same"
		p.Fix = "compare the file's checksum with that of its source, or go back to an earlier checkpoint; of a part that was not trained, ignore it"
		v.add(p)
	}
	return nil
}

func (c *Checkpoint) inAdapter(f *safetensors.File) bool {
	return slices.ContainsFunc(c.adapters, func(a *adapter) bool { return a.weights != nil && a.weights.file == f })
}

// found counts NaN and infinite elements and where the first of them start, in
// bytes.
type found struct {
	nan, inf           uint64
	firstNaN, firstInf uint64
}

func (f *found) add(g found, at uint64) {
	if f.nan == 0 {
		f.firstNaN = at + g.firstNaN
	}
	if f.inf == 0 {
		f.firstInf = at + g.firstInf
	}
	f.nan, f.inf = f.nan+g.nan, f.inf+g.inf
}

func (f *found) note(class class, at int) {
	switch class {
	case isNaN:
		if f.nan == 0 {
			f.firstNaN = uint64(at)
		}
		f.nan++
	case isInf:
		if f.inf == 0 {
			f.firstInf = uint64(at)
		}
		f.inf++
	}
}

type class uint8

const (
	isFinite class = iota
	isNaN
	isInf
)

// counters has a function for every type that can hold NaN.
var counters = map[safetensors.DType]func([]byte) found{
	safetensors.F64:  counter(8, binary.LittleEndian.Uint64, 0x7FF0_0000_0000_0000),
	safetensors.F32:  counter(4, binary.LittleEndian.Uint32, 0x7F80_0000),
	safetensors.C64:  counter(4, binary.LittleEndian.Uint32, 0x7F80_0000),
	safetensors.F16:  counter(2, binary.LittleEndian.Uint16, 0x7C00),
	safetensors.BF16: counter(2, binary.LittleEndian.Uint16, 0x7F80),
	// OCP 8-bit floating point specification 1.0; the FNUZ forms as in ml_dtypes.
	safetensors.F8_E5M2:     counter(1, func(b []byte) uint8 { return b[0] }, 0x7C),
	safetensors.F8_E4M3:     byteCounter(0x7F, 0xFF),
	safetensors.F8_E4M3FNUZ: byteCounter(0x80),
	safetensors.F8_E5M2FNUZ: byteCounter(0x80),
	safetensors.F8_E8M0:     byteCounter(0xFF),
}

// counter counts in IEEE-like types, whose infinities have the exponent's bits
// set and no others but the sign.
func counter[T uint8 | uint16 | uint32 | uint64](size int, load func([]byte) T, inf T) func([]byte) found {
	abs := ^T(0) >> 1
	return func(block []byte) (f found) {
		for i := 0; i+size <= len(block); i += size {
			if bits := load(block[i:]) & abs; bits > inf {
				f.note(isNaN, i)
			} else if bits == inf {
				f.note(isInf, i)
			}
		}
		return f
	}
}

// byteCounter counts in types without infinities, whose NaN are the given bytes.
func byteCounter(nan ...byte) func([]byte) found {
	return func(block []byte) (f found) {
		for i, b := range block {
			if bytes.IndexByte(nan, b) >= 0 {
				f.note(isNaN, i)
			}
		}
		return f
	}
}

// progress tells the caller that n more bytes were read.
func (v *validation) progress(n int64) {
	v.read += n
	if v.o.Progress != nil && (v.read-v.told >= valueBlock || v.read >= v.total) {
		v.told = v.read
		v.o.Progress(v.read, max(v.read, v.total))
	}
}

// toRead returns how many bytes the checks of values read: the tensors of types
// that can hold NaN, and the archives of torch.save.
func (c *Checkpoint) toRead() (n int64) {
	for _, f := range c.openFiles() {
		for _, t := range f.Header().Tensors {
			if counters[t.DType] != nil {
				n += int64(t.Bytes())
			}
		}
	}
	for name, err := range c.torch {
		if err == nil {
			n += c.sizeOf(name)
		}
	}
	return n
}
