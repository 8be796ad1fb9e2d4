package checkpoint

import (
	"context"
	"io"
	"path"
	"slices"

	"github.com/safeckpt/safeckpt/internal/torchzip"
)

// zeroStage tells which ZeRO stage DeepSpeed's files are of. Stage 3 shows in
// their names: only there has every rank a model file. Stage 1 and 2 differ by a
// number in the optimizer file; where it is absent (BF16_Optimizer), DeepSpeed
// 0.19.8 works as stage 1. A file that cannot be read counts as stage 2, the
// usual one: it is reported as broken anyway.
func (c *Checkpoint) zeroStage(ctx context.Context) State {
	for _, dir := range c.files.zeroDirs() {
		names := c.files.dirs[dir]
		if dir == "." {
			names = c.files.match(zeroFile)
		}
		names = slices.Sorted(slices.Values(names))
		if slices.ContainsFunc(names, zero3File.MatchString) {
			return StateZeRO3
		}
		i := slices.IndexFunc(names, zeroOptimFile.MatchString)
		if i < 0 {
			continue
		}
		state := StateZeRO2
		_ = c.withTorchFile(path.Join(dir, names[i]), func(r io.ReaderAt, size int64) error {
			archive, err := torchzip.Open(ctx, r, size)
			if err != nil {
				return err
			}
			contents, err := archive.Load(ctx, nil)
			if err != nil {
				return err
			}
			optimizer := contents.Root.Get("optimizer_state_dict")
			stage, err := optimizer.Get("zero_stage").Enum().Int()
			switch {
			case err != nil && optimizer.Get("single_partition_of_fp32_groups").Err() == nil, stage == 1:
				state = StateZeRO1
			case stage == 3:
				state = StateZeRO3
			}
			return nil
		})
		return state
	}
	return StateZeRO2
}
