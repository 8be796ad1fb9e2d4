package peft

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// writeAdapter writes an adapter whose tensors hold numbers of their own.
func writeAdapter(t *testing.T, config []byte, tensors []safetensors.TensorInfo) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, ConfigFile), config, 0o666))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "README.md"), []byte("an adapter"), 0o666))
	var data []safetensors.TensorData
	for i, x := range tensors {
		data = append(data, safetensors.TensorData{TensorInfo: x, Data: bytes.NewReader(bytes.Repeat([]byte{byte(i)}, byteSize(x)))})
	}
	require.NoError(t, safetensors.WriteFile(t.Context(), filepath.Join(dir, WeightsFile), data, map[string]string{"format": "pt"}, nil))
	return dir
}

func byteSize(x safetensors.TensorInfo) int {
	n := x.DType.Bits() / 8
	for _, d := range x.Shape {
		n *= int(d)
	}
	return n
}

// contents returns the bytes of an adapter's tensors.
func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	f, err := safetensors.Open(filepath.Join(dir, WeightsFile), nil)
	require.NoError(t, err)
	defer f.Close()
	require.Equal(t, map[string]string{"format": "pt"}, f.Header().Metadata)
	all := make(map[string][]byte)
	for name, x := range f.All() {
		data, err := x.Bytes()
		require.NoError(t, err)
		all[name] = slices.Clone(data)
	}
	return all
}

func TestRenameAdapter(t *testing.T) {
	for fault, renamed := range map[string]int{"legacy_vl_names": 12, "prefix_missing": 42, "prefix_double": 42, "adapter_name_kept": 42, "adapter_name_other": 42} {
		t.Run(fault, func(t *testing.T) {
			base := configBase(t, readExpected(t, "faults", fault).Base)
			config := readFile(t, "faults", fault, ConfigFile)
			src := writeAdapter(t, config, readTensors(t, "faults", fault))
			dst := filepath.Join(t.TempDir(), "new", "out")
			stats, err := RenameAdapter(t.Context(), base, src, dst, nil)
			require.NoError(t, err)
			require.Equal(t, renamed, stats.Renamed)
			require.Empty(t, stats.Report.Problems())
			require.Empty(t, stats.Fields)

			old, now := contents(t, src), contents(t, dst)
			require.Len(t, now, len(old))
			names := Check(readAdapter(t, "faults", fault), base).Names
			for name, data := range old {
				require.Equal(t, data, now[names[name]], name)
			}
			text, err := os.ReadFile(filepath.Join(dst, ConfigFile))
			require.NoError(t, err)
			require.Equal(t, config, text, "nothing in it depends on names")
			require.FileExists(t, filepath.Join(dst, "README.md"))
		})
	}
}

// TestRenameConfig makes sure that a config goes on saying the same of the same
// modules when their names change.
func TestRenameConfig(t *testing.T) {
	for name, tt := range map[string]struct {
		fields  string // in place of those of the fixture
		changed []string
	}{
		"ends of names":   {`"target_modules": ["q_proj", "v_proj", "qkv"]`, nil},
		"whole names":     {`"target_modules": ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "v_proj", "visual.blocks.0.attn.qkv", "visual.blocks.1.attn.qkv"]`, []string{"target_modules"}},
		"expression":      {`"target_modules": "model\\.layers\\.\\d+\\.self_attn\\.(q|v)_proj|visual\\.blocks\\.\\d\\.attn\\.qkv"`, []string{"target_modules"}},
		"open expression": {`"target_modules": ".*(q_proj|v_proj|qkv)"`, nil},
		"excluded":        {`"target_modules": ["q_proj", "v_proj", "qkv", "o_proj"], "exclude_modules": "model\\.layers\\.\\d+\\.self_attn\\.o_proj"`, []string{"exclude_modules", "target_modules"}},
		"ranks":           {`"target_modules": ["q_proj", "v_proj", "qkv"], "rank_pattern": {"^model.layers.0.self_attn.q_proj": 4}, "r": 3, "alpha_pattern": {"v_proj": 2.5}`, []string{"rank_pattern"}},
	} {
		t.Run(name, func(t *testing.T) {
			base := configBase(t, "qwen25vl_bf16")
			c, err := ParseConfig([]byte(`{"peft_type": "LORA", "r": 4, "lora_alpha": 8, ` + tt.fields + `}`))
			require.NoError(t, err)
			k := newCheck(&Adapter{c, readTensors(t, "faults", "legacy_vl_names")}, base)
			require.NotEmpty(t, k.res.Names)
			text, changed := renameConfig(c, k.moved())
			require.Equal(t, tt.changed, changed)
			after := c
			if text != nil {
				require.True(t, json.Valid(text), "%s", text)
				after, err = ParseConfig(text)
				require.NoError(t, err)
				require.Equal(t, sortedKeys(c.fields), sortedKeys(after.fields))
			}
			olds, news := &check{c: c, match: newMatcher(c)}, &check{c: after, match: newMatcher(after)}
			selected := 0
			for _, m := range k.moved() {
				_, was := olds.match.target(m.old)
				_, is := news.match.target(m.new)
				require.Equal(t, was, is, "%v", m)
				rank, _, alpha := olds.rank(m.old)
				rankNow, _, alphaNow := news.rank(m.new)
				if was {
					selected++
					require.Equal(t, rank, rankNow, "%v", m)
					require.Equal(t, alpha, alphaNow, "%v", m)
				}
			}
			require.NotZero(t, selected)
		})
	}
}

// TestRenameConfigAda does so for AdaLoRA, whose ranks go by whole names.
func TestRenameConfigAda(t *testing.T) {
	c, err := ParseConfig([]byte(`{"peft_type": "ADALORA", "total_step": 1, "target_modules": ["q_proj"], "rank_pattern": {"a.q_proj.lora_E": [true, false]}}`))
	require.NoError(t, err)
	text, changed := renameConfig(c, []moved{{"a.q_proj", "b.a.q_proj"}})
	require.Equal(t, []string{"rank_pattern"}, changed)
	require.JSONEq(t, `{"peft_type": "ADALORA", "total_step": 1, "target_modules": ["q_proj"], "rank_pattern": {"b.a.q_proj.lora_E": [true, false]}}`, string(text))
}

func TestRenameAdapterRefuses(t *testing.T) {
	out := func() string { return filepath.Join(t.TempDir(), "out") }
	for fault, code := range map[string]diag.Code{"wrong_hidden": diag.AdapterShape, "missing_lora_B": diag.AdapterTensorMissing, "empty_file": diag.AdapterNoTensors} {
		e := readExpected(t, "faults", fault)
		src := writeAdapter(t, readFile(t, "faults", fault, ConfigFile), readTensors(t, "faults", fault))
		dst := out()
		_, err := RenameAdapter(t.Context(), configBase(t, e.Base), src, dst, nil)
		var refused *RefusedError
		require.ErrorAs(t, err, &refused)
		require.ErrorIs(t, err, code)
		require.NoDirExists(t, dst)
	}
	src := writeAdapter(t, []byte("{"), readTensors(t, "faults", "prefix_double"))
	_, err := RenameAdapter(t.Context(), configBase(t, "qwen2"), src, out(), nil)
	require.ErrorIs(t, err, diag.AdapterConfigInvalid)
	_, err = RenameAdapter(t.Context(), configBase(t, "qwen2"), out(), out(), nil)
	require.ErrorIs(t, err, os.ErrNotExist)

	good := writeAdapter(t, readFile(t, "fixtures", "qwen2_r8", ConfigFile), readTensors(t, "fixtures", "qwen2_r8"))
	stats, err := RenameAdapter(t.Context(), configBase(t, "qwen2"), good, out(), nil)
	require.NoError(t, err)
	require.Zero(t, stats.Renamed)
	_, err = RenameAdapter(t.Context(), configBase(t, "qwen2"), good, good, nil)
	require.ErrorContains(t, err, "exists")
}

// TestRenameAdapterStopped stops the copy before each operation: what is there
// afterwards is nothing, or all of it.
func TestRenameAdapterStopped(t *testing.T) {
	base := configBase(t, "qwen2")
	src := writeAdapter(t, readFile(t, "faults", "prefix_double", ConfigFile), readTensors(t, "faults", "prefix_double"))
	stopped := errors.New("stopped")
	for n := 0; ; n++ {
		require.Less(t, n, 1000)
		dst := filepath.Join(t.TempDir(), "out")
		left := n
		_, err := RenameAdapter(t.Context(), base, src, dst, &RenameOptions{Step: func(op, path string) error {
			if left--; left < 0 {
				return stopped
			}
			return nil
		}})
		if _, statErr := os.Stat(dst); statErr == nil {
			require.Len(t, contents(t, dst), 42)
			require.FileExists(t, filepath.Join(dst, ConfigFile))
		}
		if err == nil {
			require.Greater(t, n, 5)
			return
		}
		require.ErrorIs(t, err, stopped)
	}
}

func TestOpenBase(t *testing.T) {
	b, err := OpenBase(os.DirFS(filepath.Join("testdata", "bases", "qwen2")), nil)
	require.NoError(t, err)
	require.True(t, b.certain)

	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"model_type": "unheard_of"}`), 0o666))
	_, err = OpenBase(os.DirFS(dir), nil)
	require.ErrorContains(t, err, "the base is no model")
	var data []safetensors.TensorData
	for _, x := range readTensors(t, "bases", "qwen2") {
		data = append(data, safetensors.TensorData{TensorInfo: x, Data: bytes.NewReader(make([]byte, byteSize(x)))})
	}
	require.NoError(t, safetensors.WriteFile(t.Context(), filepath.Join(dir, "model.safetensors"), data, nil, nil))
	b, err = OpenBase(os.DirFS(dir), nil)
	require.NoError(t, err)
	require.False(t, b.certain)
	require.Equal(t, "unheard_of", b.ModelType)
	require.Empty(t, Check(readAdapter(t, "fixtures", "qwen2_r8"), b).Report.Problems())
}
