package peft_test

import (
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/peft"
	"github.com/safeckpt/safeckpt/safetensors"
)

// fuzzed are the adapters that FuzzMerge damages: one of each kind of merge.
var fuzzed = []string{"mha_in_proj", "qwen3moe_gate", "qwen3moe_params", "qwen2_trainable_tokens", "gpt2_fanflag_wrong", "qwen2_tied_lmhead_mts", "qwen2_lora_bias", "qwen25vl_visual_conv3d",
	"qwen2_dora", "other_lokr", "other_ia3", "other_oft", "other_vera", "other_adalora", "other_loha", "other_trainable_tokens"}

func memory(t testing.TB, dir string, names ...string) fstest.MapFS {
	files := make(fstest.MapFS)
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		files[name] = &fstest.MapFile{Data: data}
	}
	return files
}

// FuzzMerge replaces the config of an adapter and the header of its weights.
// Whatever they say, the merge ends in an error and no output, or in a model with
// the tensors of the base.
func FuzzMerge(f *testing.F) {
	type input struct {
		base, adapter fstest.MapFS
		tensors       int
	}
	var inputs []input
	all := make(map[string]mergeFixture)
	for _, x := range mergeFixtures(f) {
		all[x.name] = x
	}
	for i, name := range fuzzed {
		x := all[name]
		in := input{memory(f, x.base, "config.json", "model.safetensors"), memory(f, x.adapter, peft.ConfigFile, peft.WeightsFile), len(readModel(f, x.base))}
		inputs = append(inputs, in)
		weights := in.adapter[peft.WeightsFile].Data
		f.Add(uint8(i), in.adapter[peft.ConfigFile].Data, weights[8:8+binary.LittleEndian.Uint64(weights)])
	}
	parent := f.TempDir()
	f.Fuzz(func(t *testing.T, which uint8, config, header []byte) {
		in := inputs[int(which)%len(inputs)]
		adapter := maps.Clone(in.adapter)
		weights := adapter[peft.WeightsFile].Data
		data := weights[8+binary.LittleEndian.Uint64(weights):]
		file := append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
		adapter[peft.ConfigFile] = &fstest.MapFile{Data: config}
		adapter[peft.WeightsFile] = &fstest.MapFile{Data: append(file, data...)}
		out := filepath.Join(parent, "out")
		stats, err := peft.MergeFS(t.Context(), in.base, adapter, out, &peft.MergeOptions{Workers: 1})
		var refused *peft.RefusedError
		if errors.As(err, &refused) {
			require.NotZero(t, refused.Report.Count(diag.Error))
		}
		if err != nil {
			require.Empty(t, names(t, parent))
			return
		}
		m, err := safetensors.OpenModel(os.DirFS(out), nil)
		require.NoError(t, err)
		require.GreaterOrEqual(t, stats.Tensors, in.tensors)
		require.NoError(t, m.Close())
		require.NoError(t, os.RemoveAll(out))
	})
}
