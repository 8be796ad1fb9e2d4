package peft

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// breaks change one tensor of an adapter.
var breaks = map[string]func(r *rand.Rand, x *safetensors.TensorInfo){
	"lost":            nil,
	"renamed":         func(_ *rand.Rand, x *safetensors.TensorInfo) { x.Name += "_x" },
	"longer":          func(r *rand.Rand, x *safetensors.TensorInfo) { x.Shape[r.IntN(len(x.Shape))] += 3 },
	"more dimensions": func(_ *rand.Rand, x *safetensors.TensorInfo) { x.Shape = append(x.Shape, 1) },
	"integers":        func(_ *rand.Rand, x *safetensors.TensorInfo) { x.DType = safetensors.I8 },
	"emptied":         func(_ *rand.Rand, x *safetensors.TensorInfo) { x.Shape = []uint64{0} },
}

// mayBeLost says of tensors that others make up for: copies, and what belongs to
// the base.
func mayBeLost(c *Config, name string) bool {
	for _, part := range []string{".base_layer.weight", ".original_module.", ".modules_to_save.", "lm_head.trainable_tokens_delta"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return c.Type == "RANDLORA" && strings.HasPrefix(name, modelPrefix) && (strings.HasSuffix(name, "_A") || strings.HasSuffix(name, "_B"))
}

// broken asserts that each change of one tensor is found, whichever it is.
func broken(t *testing.T, r *rand.Rand, a *Adapter, base *Base) {
	t.Helper()
	for _, name := range sortedKeys(breaks) {
		i := r.IntN(len(a.Tensors))
		old := a.Tensors[i]
		switch {
		case len(old.Shape) == 0 || slices.Contains(old.Shape, 0) || strings.Contains(old.Name, "delora_w_norm."),
			name == "lost" && mayBeLost(a.Config, old.Name),
			name == "longer" && a.Config.options["proportional_parameters"] == 1, // how long follows from no config
			name == "integers" && strings.HasSuffix(old.Name, "indices"):
			continue
		}
		all := slices.Clone(a.Tensors)
		if change := breaks[name]; change == nil {
			all = slices.Delete(all, i, i+1)
		} else {
			all[i].Shape = slices.Clone(old.Shape)
			change(r, &all[i])
		}
		res := Check(&Adapter{a.Config, all}, base)
		require.NotZero(t, res.Report.Count(diag.Error), "%s %s", name, old.Name)
	}
}

// TestBroken changes one tensor after the other of every good adapter.
func TestBroken(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, name := range directories(t, "fixtures") {
		t.Run(name, func(t *testing.T) {
			base := configBase(t, readExpected(t, "fixtures", name).Base)
			if base == nil {
				return // names and shapes are held loosely where the model type is not known
			}
			a := readAdapter(t, "fixtures", name)
			for range 2 * len(a.Tensors) {
				broken(t, r, a, base)
			}
		})
	}
}
