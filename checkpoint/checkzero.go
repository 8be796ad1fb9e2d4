package checkpoint

import (
	"errors"

	"github.com/safeckpt/safeckpt/checkpoint/zero"
	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// checkZeRO does all checks of a merge without merging: every rank is held
// against every other, and the tensors that would come out are counted. Beside
// weights that are whole, broken shards only spoil resuming.
func checkZeRO(v *validation) error {
	c := v.c
	switch c.state {
	case StateZeRO1, StateZeRO2, StateZeRO3:
	default:
		return nil
	}
	shards, err := zero.OpenFS(v.ctx, c.fsys, nil)
	var refused *zero.Error
	switch {
	case errors.As(err, &refused):
		for _, p := range refused.Report.Problems() {
			if c.kind != KindZeRO && p.Severity == diag.Error {
				p.Severity = diag.Warning
			}
			v.add(p)
		}
		return nil
	case err != nil:
		return err
	}
	v.r.Report.Merge("", shards.Report())
	if c.kind != KindZeRO {
		return nil
	}
	infos, err := shards.Tensors()
	if err != nil {
		return err
	}
	if shards.IsAdapter() {
		v.unheld = "the shards are of a model under PEFT"
	} else {
		v.merged = infos
	}
	v.count(&safetensors.Header{Tensors: infos})
	return nil
}
