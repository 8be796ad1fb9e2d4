package peft_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/atomicfile"
	"github.com/safeckpt/safeckpt/peft"
	"github.com/safeckpt/safeckpt/safetensors"
)

// A mergeFixture is an adapter with its base, and what PEFT 0.21.2's merge of the
// two holds (merged.json).
type mergeFixture struct {
	name, adapter, base string
	// changed holds, for each tensor that is not that of the base, the SHA-256 of its
	// data, and the one with safe_merge if it is another.
	changed map[string][]string
}

func mergeFixtures(t testing.TB) (all []mergeFixture) {
	files, err := filepath.Glob("testdata/fixtures/*/merged.json")
	require.NoError(t, err)
	for _, file := range files {
		f := mergeFixture{adapter: filepath.Dir(file)}
		f.name = filepath.Base(f.adapter)
		readJSON(t, file, &f.changed)
		var x struct{ Base string }
		readJSON(t, filepath.Join(f.adapter, "expected.json"), &x)
		f.base = filepath.Join("testdata/bases", x.Base)
		all = append(all, f)
	}
	require.Greater(t, len(all), 30)
	return all
}

func readJSON(t testing.TB, file string, v any) {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, v))
}

type mergedTensor struct {
	DType string
	Shape []uint64
	Data  []byte
}

func readModel(t testing.TB, dir string) map[string]mergedTensor {
	m, err := safetensors.OpenModel(os.DirFS(dir), nil)
	require.NoError(t, err)
	defer m.Close()
	require.Zero(t, m.Report().Count(diag.Error), m.Report().Summary())
	all := make(map[string]mergedTensor)
	for name, tensor := range m.All() {
		data, err := io.ReadAll(tensor.Open())
		require.NoError(t, err)
		info := tensor.Info()
		all[name] = mergedTensor{info.DType.String(), append([]uint64{}, info.Shape...), data}
	}
	return all
}

func names(t testing.TB, dir string) (out []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// TestMergeAsPEFT holds merges against the digests of PEFT's, by default and with
// safe_merge: every bit is the same.
func TestMergeAsPEFT(t *testing.T) {
	tensors := 0
	for _, f := range mergeFixtures(t) {
		for _, safe := range []bool{false, true} {
			t.Run(f.name, func(t *testing.T) {
				out := filepath.Join(t.TempDir(), "out")
				stats, err := peft.Merge(t.Context(), f.base, f.adapter, out, &peft.MergeOptions{Safe: safe})
				var refused *peft.RefusedError
				if f.name == "llama_pissa" { // would need an SVD
					require.ErrorIs(t, err, diag.AdapterNotMerged)
					return
				} else if errors.As(err, &refused) {
					t.Fatal(refused.Report.Problems())
				}
				require.NoError(t, err)
				got, was := readModel(t, out), readModel(t, f.base)
				require.Equal(t, stats.Tensors, len(got))
				want := slices.Collect(maps.Keys(was))
				for name := range f.changed {
					if _, ok := was[name]; !ok {
						want = append(want, name)
					}
				}
				require.ElementsMatch(t, want, slices.Collect(maps.Keys(got)))
				for name, g := range got {
					digests := f.changed[name]
					if digests == nil {
						require.Equal(t, was[name], g, name)
						continue
					}
					digest := digests[0]
					if safe {
						digest = digests[len(digests)-1]
					}
					sum := sha256.Sum256(g.Data)
					require.Equal(t, digest, hex.EncodeToString(sum[:]), "%s %v", name, g.Shape)
					tensors++
				}
			})
		}
	}
	t.Logf("%d tensors compared", tensors)
	require.Greater(t, tensors, 500)
}

// TestMergeRepeats makes sure that neither the number of goroutines nor how the
// result is split changes a bit.
func TestMergeRepeats(t *testing.T) {
	const base, adapter = "testdata/bases/qwen25vl_bf16", "testdata/fixtures/qwen25vl_small"
	out := filepath.Join(t.TempDir(), "out")
	var last [2]int64
	stats, err := peft.Merge(t.Context(), base, adapter, out, &peft.MergeOptions{Workers: 1, Progress: func(done, total int64) { last = [2]int64{done, total} }})
	require.NoError(t, err)
	require.Equal(t, [2]int64{stats.Bytes, stats.Bytes}, last)
	require.Equal(t, []string{filepath.Join(out, "model.safetensors")}, stats.Files)
	want := readModel(t, out)

	sharded := filepath.Join(t.TempDir(), "sharded")
	stats, err = peft.Merge(t.Context(), base, adapter, sharded, &peft.MergeOptions{Workers: 7, MaxShardSize: 50_000})
	require.NoError(t, err)
	require.Len(t, stats.Files, 3)
	require.Equal(t, want, readModel(t, sharded))

	// Merged again into what is sharded now: the sharding is kept, and the stale
	// files of another model at the same place are removed.
	again := filepath.Join(t.TempDir(), "again")
	require.NoError(t, os.CopyFS(again, os.DirFS(out)))
	_, err = peft.Merge(t.Context(), sharded, adapter, again, nil)
	require.ErrorContains(t, err, "exists")
	_, err = peft.Merge(t.Context(), sharded, adapter, again, &peft.MergeOptions{Force: true})
	require.NoError(t, err)
	require.Equal(t, names(t, sharded), names(t, again))
	_, err = peft.Merge(t.Context(), sharded, adapter, filepath.Join(sharded, "out"), nil)
	require.ErrorContains(t, err, "lies inside")
}

// TestMergeOtherNames merges an adapter that has the names of an older version of
// transformers: the result is that of the same adapter under its present names.
func TestMergeOtherNames(t *testing.T) {
	const base, adapter = "testdata/bases/qwen25vl_bf16", "testdata/fixtures/qwen25vl_small"
	old := filepath.Join(t.TempDir(), "old")
	renamed := rewriteAdapter(t, adapter, old, func(name string) string {
		name = strings.Replace(name, "base_model.model.model.language_model.", "base_model.model.model.", 1)
		return strings.Replace(name, "base_model.model.model.visual.", "base_model.model.visual.", 1)
	})
	require.NotZero(t, renamed)
	want, got := filepath.Join(t.TempDir(), "want"), filepath.Join(t.TempDir(), "got")
	_, err := peft.Merge(t.Context(), base, adapter, want, nil)
	require.NoError(t, err)
	stats, err := peft.Merge(t.Context(), base, old, got, nil)
	require.NoError(t, err)
	require.True(t, stats.Report.Has(diag.AdapterNames))
	require.Equal(t, readModel(t, want), readModel(t, got))
}

// TestMergeUnties: a trained copy of a tied output embedding is stored, and the
// config says so.
func TestMergeUnties(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	stats, err := peft.Merge(t.Context(), "testdata/bases/qwen2_tied_bf16", "testdata/fixtures/qwen2_tied_lmhead_mts", out, nil)
	require.NoError(t, err)
	require.True(t, stats.Report.Has(diag.AdapterUntied))
	require.Contains(t, readModel(t, out), "lm_head.weight")
	var before, after map[string]any
	readJSON(t, "testdata/bases/qwen2_tied_bf16/config.json", &before)
	readJSON(t, filepath.Join(out, "config.json"), &after)
	require.Equal(t, true, before["tie_word_embeddings"])
	before["tie_word_embeddings"] = false
	require.Equal(t, before, after)
}

// TestMergeTiedCopies: a base may store both of two tied weights. What changes one
// changes the other, unless modules_to_save trained it on its own.
func TestMergeTiedCopies(t *testing.T) {
	const plain = "testdata/bases/qwen2_tied_bf16"
	both := filepath.Join(t.TempDir(), "both")
	require.NoError(t, os.CopyFS(both, os.DirFS(plain)))
	f, err := safetensors.Open(filepath.Join(plain, "model.safetensors"), nil)
	require.NoError(t, err)
	defer f.Close()
	var tensors []safetensors.TensorData
	for name, tensor := range f.All() {
		tensors = append(tensors, safetensors.TensorData{TensorInfo: tensor.Info(), Data: tensor.Open()})
		if name == "model.embed_tokens.weight" {
			info := tensor.Info()
			info.Name = "lm_head.weight"
			tensors = append(tensors, safetensors.TensorData{TensorInfo: info, Data: tensor.Open()})
		}
	}
	require.NoError(t, safetensors.WriteFile(t.Context(), filepath.Join(both, "model.safetensors"), tensors, nil, nil))
	for _, adapter := range []string{"qwen2_tied_embed_bf16", "qwen2_tied_lmhead_mts"} {
		want, got := filepath.Join(t.TempDir(), "want"), filepath.Join(t.TempDir(), "got")
		_, err := peft.Merge(t.Context(), plain, filepath.Join("testdata/fixtures", adapter), want, nil)
		require.NoError(t, err)
		_, err = peft.Merge(t.Context(), both, filepath.Join("testdata/fixtures", adapter), got, nil)
		require.NoError(t, err)
		expected := readModel(t, want)
		if _, untied := expected["lm_head.weight"]; !untied {
			expected["lm_head.weight"] = expected["model.embed_tokens.weight"]
		}
		require.Equal(t, expected, readModel(t, got), adapter)
	}
}

func TestMergeRefuses(t *testing.T) {
	dir := t.TempDir()
	const base = "testdata/bases/qwen2"
	adapter := func(t *testing.T, config map[string]any) string {
		out := filepath.Join(t.TempDir(), "adapter")
		rewriteAdapter(t, "testdata/fixtures/qwen2_exclude", out, func(name string) string { return name })
		var c map[string]any
		file := filepath.Join(out, "adapter_config.json")
		readJSON(t, file, &c)
		maps.Copy(c, config)
		text, err := json.Marshal(c)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, text, 0o600))
		return out
	}
	for name, c := range map[string]struct {
		config map[string]any
		code   diag.Code
	}{
		"pissa":       {map[string]any{"init_lora_weights": "pissa_niter_4"}, diag.AdapterNotMerged},
		"loftq":       {map[string]any{"init_lora_weights": "loftq"}, diag.AdapterNotMerged},
		"corda":       {map[string]any{"init_lora_weights": "corda"}, diag.AdapterNotMerged},
		"alora":       {map[string]any{"alora_invocation_tokens": []int{1}}, diag.AdapterNotMerged},
		"replication": {map[string]any{"layer_replication": [][]int{{0, 3}}}, diag.AdapterNotMerged},
		"qalora":      {map[string]any{"use_qalora": true}, diag.AdapterNotMerged},
		"overflow":    {map[string]any{"lora_alpha": 1e40}, diag.AdapterNotMerged},
		"rank":        {map[string]any{"r": 5}, diag.AdapterRank},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := peft.Merge(t.Context(), base, adapter(t, c.config), filepath.Join(dir, "out"), nil)
			require.ErrorIs(t, err, c.code)
			require.Empty(t, names(t, dir), "nothing is written")
		})
	}
	t.Run("NaN", func(t *testing.T) {
		damaged := adapter(t, nil)
		file := filepath.Join(damaged, "adapter_model.safetensors")
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		copy(data[len(data)-4:], "\xff\xff\xff\x7f")
		require.NoError(t, os.WriteFile(file, data, 0o600))
		_, err = peft.Merge(t.Context(), base, damaged, filepath.Join(dir, "out"), nil)
		require.ErrorIs(t, err, diag.AdapterNotFinite)
		require.Empty(t, names(t, dir))
	})
	t.Run("quantized", func(t *testing.T) {
		quantized := filepath.Join(t.TempDir(), "base")
		require.NoError(t, os.CopyFS(quantized, os.DirFS(base)))
		var c map[string]any
		readJSON(t, filepath.Join(quantized, "config.json"), &c)
		c["quantization_config"] = map[string]any{"quant_method": "gptq"}
		text, err := json.Marshal(c)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(quantized, "config.json"), text, 0o600))
		_, err = peft.Merge(t.Context(), quantized, "testdata/fixtures/qwen2_exclude", filepath.Join(dir, "out"), nil)
		require.ErrorIs(t, err, diag.AdapterNotMerged)
	})
	_, err := peft.Merge(t.Context(), base, "testdata/bases/qwen2", filepath.Join(dir, "out"), nil)
	require.ErrorIs(t, err, diag.AdapterAbsent)
	_, err = peft.Merge(t.Context(), "testdata/fixtures/qwen2_exclude", "testdata/fixtures/qwen2_exclude", filepath.Join(dir, "out"), nil)
	require.ErrorIs(t, err, diag.BaseAbsent)
	require.Empty(t, names(t, dir))
}

// TestMergeFailpoints stops a merge before each operation on files, as a crash
// would: the result is there whole, or not at all, and so is an old one.
func TestMergeFailpoints(t *testing.T) {
	dead := errors.New("dead")
	const base, adapter = "testdata/bases/mha", "testdata/fixtures/mha_in_proj"
	for _, old := range []bool{false, true} {
		for n, done := 0, false; !done; n++ {
			parent := t.TempDir()
			out := filepath.Join(parent, "out")
			main := filepath.Join(out, "model.safetensors")
			if old {
				require.NoError(t, os.CopyFS(out, os.DirFS(base)))
			}
			left := n
			_, err := peft.Merge(t.Context(), base, adapter, out, &peft.MergeOptions{Force: old, Workers: 1, Step: func(op, path string) error {
				if left--; left < 0 {
					return dead
				}
				return nil
			}})
			if done = err == nil; !done {
				require.ErrorIs(t, err, dead)
			}
			for _, name := range names(t, parent) {
				require.True(t, name == "out" || atomicfile.IsTemp(name), name)
			}
			if _, err := os.Stat(main); err != nil {
				require.ErrorIs(t, err, fs.ErrNotExist)
				require.False(t, old || done)
				continue
			}
			got := readModel(t, out)
			require.Len(t, got, len(readModel(t, base)))
			if done {
				require.NotEqual(t, readModel(t, base), got)
				require.Greater(t, n, 15, "the steps were not counted")
			}
		}
	}
}

// rewriteAdapter copies an adapter with other names of tensors. It returns how many
// names were changed.
func rewriteAdapter(t testing.TB, from, to string, rename func(string) string) (renamed int) {
	require.NoError(t, os.MkdirAll(to, 0o777))
	config, err := os.ReadFile(filepath.Join(from, "adapter_config.json"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(to, "adapter_config.json"), config, 0o666))
	f, err := safetensors.Open(filepath.Join(from, "adapter_model.safetensors"), nil)
	require.NoError(t, err)
	defer f.Close()
	var tensors []safetensors.TensorData
	for name, tensor := range f.All() {
		info := tensor.Info()
		if info.Name = rename(name); info.Name != name {
			renamed++
		}
		tensors = append(tensors, safetensors.TensorData{TensorInfo: info, Data: tensor.Open()})
	}
	require.NoError(t, safetensors.WriteFile(t.Context(), filepath.Join(to, "adapter_model.safetensors"), tensors, nil, nil))
	return renamed
}
