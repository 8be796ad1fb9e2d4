package peft

import (
	"context"
	"fmt"
	"math"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

const maxFloat16 = 65504

// checkLarge reports a tensor with finite values that float16 cannot hold.
func checkLarge(ctx context.Context, r *diag.Report, t safetensors.Tensor) error {
	info := t.Info()
	switch info.DType {
	case safetensors.F32, safetensors.BF16, safetensors.F64:
	default: // smaller range, or no float
		return nil
	}
	many, largest := 0, 0.0
	for block, err := range safetensors.Float64s(t) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		for _, v := range block {
			if v = math.Abs(v); v > maxFloat16 && v <= math.MaxFloat64 {
				many, largest = many+1, max(largest, v)
			}
		}
	}
	if many == 0 {
		return nil
	}
	p := diag.New(diag.AdapterLarge, "%s: %d of %d elements are beyond float16, the largest is %.6g", diag.Name(info.Name), many, info.Elements(), largest)
	p.File, p.Tensor = WeightsFile, info.Name
	p.Want, p.Got = "values of at most 65504", fmt.Sprintf("%.6g", largest)
	p.Cause = "training diverged, or the values were scaled or converted wrongly"
	p.Fix = "look at the loss in trainer_state.json and go back to an earlier checkpoint; if the values are meant, merge into a bfloat16 or float32 base"
	r.Add(p)
	return nil
}
