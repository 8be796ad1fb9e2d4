package peft

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// CheckValues reads the tensors of an adapter. It says where those that are zero
// before training, such as lora_B, still are, so that modules, or the whole adapter,
// change nothing; and which hold values too large for float16. NaN and infinities
// are for others to find, as in any file. The error is one of reading, or that of
// ctx.
func CheckValues(ctx context.Context, c *Config, tensors iter.Seq2[string, safetensors.Tensor]) (*diag.Report, error) {
	r := &diag.Report{}
	var idle []string
	var prefix string
	if m := methods[c.Type]; m != nil {
		idle, prefix = m.idle, m.prefix
	}
	modules := make(map[string]bool)
	zeros := make(map[string]*entry) // by module
	for _, t := range tensors {
		info := t.Info()
		if err := checkLarge(ctx, r, t); err != nil {
			return r, fmt.Errorf("peft: %s: %w", diag.Name(info.Name), err)
		}
		e := parseName(&info, prefix)
		if !slices.Contains(idle, e.key) || !isFloat(info.DType) || isEmpty(&info) {
			continue
		}
		modules[e.module] = true
		zero, err := allZero(ctx, t)
		if err != nil {
			return r, fmt.Errorf("peft: %s: %w", diag.Name(info.Name), err)
		}
		if zero {
			zeros[e.module] = &e
		}
	}
	if len(zeros) == 0 {
		return r, nil
	}
	what := strings.TrimSuffix(idle[0], ".weight")
	if len(zeros) == len(modules) {
		p := problem(diag.AdapterZero, nil, "%d of %d %s are all zero: the adapter equals the base", len(zeros), len(modules), what)
		p.Want, p.Got = "trained values", "zeros"
		p.Cause = what + " starts at zero: no step was taken (no parameter needed gradients, or the save came first), or the weights were lost and made anew"
		if c.DoRA {
			p.Message = fmt.Sprintf("%d of %d %s are all zero: only the magnitudes of DoRA can change anything", len(zeros), len(modules), what)
		}
		p.Fix = "look for a loss that moves and for trainable parameters in the training log, and save again after training"
		r.Add(p)
		return r, nil
	}
	for _, module := range sortedKeys(zeros) {
		e := zeros[module]
		p := problem(diag.AdapterPartlyZero, e, "%s is all zero (so are %d of %d %s): %s is not changed", diag.Name(e.info.Name), len(zeros), len(modules), what, diag.Name(module))
		p.Want, p.Got = "trained values", "zeros"
		p.Cause = "the module took no part in training (frozen, or never reached), or its weights were lost and made anew"
		p.Fix = "take it out of target_modules if that was meant; else train again"
		r.Add(p)
	}
	return r, nil
}

// allZero reports whether every element is zero of either sign, which in all
// float types means that no bit but the highest of an element is set.
func allZero(ctx context.Context, t safetensors.Tensor) (bool, error) {
	info := t.Info()
	size := info.DType.Bits() / 8
	in := t.Open()
	buf := make([]byte, min(1<<20, info.Bytes()))
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := io.ReadFull(in, buf)
		for i, b := range buf[:n] {
			if i%size == size-1 {
				b &= 0x7F
			}
			if b != 0 {
				return false, nil
			}
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			if pos, _ := in.Seek(0, io.SeekCurrent); pos < in.Size() {
				return false, io.ErrUnexpectedEOF
			}
			return true, nil
		default:
			return false, err
		}
	}
}
