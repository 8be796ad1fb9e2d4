package checkpoint

import (
	"errors"
	"slices"

	"github.com/safeckpt/safeckpt/checkpoint/zero"
	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// checkShards does all checks of a merge without merging: every rank of ZeRO or
// FSDP is held against every other, and the tensors that would come out are
// counted. Beside weights that are whole, broken shards only spoil resuming.
func checkShards(v *validation) error {
	c := v.c
	switch c.state {
	case StateZeRO1, StateZeRO2, StateZeRO3:
	case StateFSDP:
		if len(c.files.match(fsdpFile)) == 0 && !slices.ContainsFunc(sortedKeys(c.files.dirs), fsdpDir.MatchString) ||
			len(c.files.match(binFile)) > 0 || c.files.has("pytorch_model_fsdp.bin") {
			return nil // saved with FULL_STATE_DICT
		}
	default:
		return nil
	}
	beside := c.kind != KindZeRO && c.kind != KindFSDP
	shards, err := zero.OpenFS(v.ctx, c.fsys, nil)
	var refused *zero.Error
	switch {
	case errors.As(err, &refused):
		v.r.Report.MergeFunc(refused.Report, func(p *diag.Problem) bool {
			if beside && p.Severity == diag.Error {
				p.Severity = diag.Warning
			}
			return true
		})
		return nil
	case err != nil:
		return err
	}
	v.r.Report.Merge("", shards.Report())
	if beside {
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
