package peft

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/safetensors"
)

// The directories of testdata/fixtures and testdata/faults were made with peft
// 0.21.2 and transformers 5.23.0: adapter_config.json as saved, and of the
// weights the names, dtypes and shapes.

func readFile(t testing.TB, parts ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{"testdata"}, parts...)...))
	require.NoError(t, err)
	return data
}

func readTensors(t testing.TB, dir ...string) []safetensors.TensorInfo {
	t.Helper()
	var raw map[string][2]json.RawMessage
	require.NoError(t, json.Unmarshal(readFile(t, append(dir, "tensors.json")...), &raw))
	var out []safetensors.TensorInfo
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		info := safetensors.TensorInfo{Name: name}
		var dtype string
		require.NoError(t, json.Unmarshal(raw[name][0], &dtype))
		require.NoError(t, json.Unmarshal(raw[name][1], &info.Shape))
		var ok bool
		info.DType, ok = safetensors.ParseDType(dtype)
		require.True(t, ok)
		out = append(out, info)
	}
	return out
}

func readAdapter(t testing.TB, dir ...string) *Adapter {
	t.Helper()
	c, err := ParseConfig(readFile(t, append(dir, "adapter_config.json")...))
	require.NoError(t, err)
	return &Adapter{Config: c, Tensors: readTensors(t, dir...)}
}

// diskBase returns the base of which only the tensors are known.
func diskBase(t testing.TB, name string) *Base {
	tensors := readTensors(t, "bases", name)
	return BaseFromTensors(func(yield func(*safetensors.TensorInfo) bool) {
		for i := range tensors {
			if !yield(&tensors[i]) {
				return
			}
		}
	})
}

// configBase returns the base that config.json describes, nil if its model type
// is not known.
func configBase(t testing.TB, name string) *Base {
	c, err := hfconfig.Parse(readFile(t, "bases", name, "config.json"))
	require.NoError(t, err)
	x, err := hfconfig.Builtin().Expect(c, nil)
	if errors.Is(err, hfconfig.ErrUnknownModel) {
		return nil
	}
	require.NoError(t, err)
	return NewBase(x)
}

type expected struct {
	Base    string
	Modules map[string][2]float64 // rank and scaling
	What    string
	Want    string
}

func readExpected(t testing.TB, dir ...string) expected {
	var e expected
	require.NoError(t, json.Unmarshal(readFile(t, append(dir, "expected.json")...), &e))
	return e
}

func directories(t testing.TB, kind string) []string {
	entries, err := os.ReadDir(filepath.Join("testdata", kind))
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
