package checkpoint

import (
	"bytes"
	"errors"
	"io"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// checkTies compares tensors that are one weight in the model but stand in the
// files twice. transformers 5.23 ties them only if they are equal; if they
// differ it keeps both, against what config.json says.
func (v *validation) checkTies() error {
	for _, pair := range v.copies {
		kept, err := v.c.model.Tensor(pair.Kept)
		if err != nil {
			continue // in a file that was refused
		}
		copied, err := v.c.model.Tensor(pair.Copy)
		if err != nil {
			continue
		}
		equal, err := v.sameBytes(kept, copied)
		if err != nil {
			return err
		}
		a, b := kept.Info(), copied.Info()
		var p diag.Problem
		if equal {
			p = diag.New(diag.TiedEqual, "%s and %s are one weight and stand in the files twice, equal: %s more than needed", diag.Name(b.Name), diag.Name(a.Name), diag.Size(b.Bytes()))
			p.Cause = "saved by a tool that does not drop tied weights"
		} else {
			p = diag.New(diag.TiedDiffer, "%s and %s should be one weight, and differ", diag.Name(b.Name), diag.Name(a.Name))
			p.Want, p.Got = "equal bytes, or one of the two", "two different tensors"
			p.Cause = "config.json says that the weights are tied, but they were trained or merged apart"
			p.Fix = `if they are meant to differ, set "tie_word_embeddings": false in config.json; else drop ` + diag.Name(b.Name)
		}
		p.File, p.Tensor = copied.File().Name(), b.Name
		p.Related = []diag.Related{{File: kept.File().Name(), Tensor: a.Name, Message: "the other copy, " + diag.Name(a.Name)}}
		v.add(p)
	}
	return nil
}

func (v *validation) sameBytes(a, b safetensors.Tensor) (bool, error) {
	if ia, ib := a.Info(), b.Info(); ia.DType != ib.DType || ia.Bytes() != ib.Bytes() {
		return false, nil
	}
	ra, rb := a.Open(), b.Open()
	bufA, bufB := make([]byte, valueBlock/2), make([]byte, valueBlock/2)
	for {
		if err := v.ctx.Err(); err != nil {
			return false, err
		}
		n, errA := io.ReadFull(ra, bufA)
		_, errB := io.ReadFull(rb, bufB[:n])
		switch {
		case errB != nil && n > 0:
			return false, errB
		case !bytes.Equal(bufA[:n], bufB[:n]):
			return false, nil
		case errors.Is(errA, io.EOF), errors.Is(errA, io.ErrUnexpectedEOF):
			return true, nil
		case errA != nil:
			return false, errA
		}
	}
}
