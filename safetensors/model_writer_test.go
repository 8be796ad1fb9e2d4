package safetensors_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/atomicfile"
	"github.com/safeckpt/safeckpt/safetensors"
)

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// fill writes every tensor of m as that byte.
func fill(m *safetensors.ModelWriter, c byte) error {
	for _, name := range m.Files() {
		for _, info := range m.Tensors(name) {
			w, err := m.Tensor(info.Name)
			if err != nil {
				return err
			}
			if _, err := w.Write(slices.Repeat([]byte{c}, int(info.Bytes()))); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestModelWriterAsTransformers(t *testing.T) {
	var golden struct {
		Tensors [][3]any
		Saves   map[string]struct {
			Index  *string
			SHA256 map[string]string
		}
	}
	text, err := os.ReadFile("testdata/saved_model.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &golden))
	var tensors []safetensors.TensorInfo
	for _, row := range golden.Tensors {
		d, ok := safetensors.ParseDType(row[1].(string))
		require.True(t, ok)
		var shape []uint64
		for _, dim := range row[2].([]any) {
			shape = append(shape, uint64(dim.(float64)))
		}
		tensors = append(tensors, info(row[0].(string), d, shape...))
	}
	for size, want := range golden.Saves {
		t.Run(size, func(t *testing.T) {
			dir := t.TempDir()
			limit, err := strconv.ParseUint(size, 10, 64)
			require.NoError(t, err)
			m, err := safetensors.NewModelWriter(dir, tensors, map[string]string{"format": "pt"}, &safetensors.ModelWriterOptions{MaxShardSize: limit})
			require.NoError(t, err)
			defer m.Abort()
			require.ErrorContains(t, m.Commit(), "not complete")
			require.NoError(t, fill(m, 0))
			require.NoError(t, m.Commit())
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			got := make(map[string]string)
			for _, e := range left {
				content, err := os.ReadFile(filepath.Join(dir, e.Name()))
				require.NoError(t, err)
				if e.Name() == "model.safetensors.index.json" {
					require.NotNil(t, want.Index)
					require.Equal(t, *want.Index, string(content))
					continue
				}
				got[e.Name()] = sha(content)
			}
			require.Equal(t, want.SHA256, got)
		})
	}
}

func TestModelWriterNames(t *testing.T) {
	three := []safetensors.TensorInfo{info("a", safetensors.U8, 4), info("b\u00e9😀\x7f\"\n\x01", safetensors.U8, 20), info("c", safetensors.U8, 4)}
	for _, c := range []struct {
		name string
		opts safetensors.ModelWriterOptions
		want []string
		err  string
	}{
		{name: "fits", want: []string{"model.safetensors"}},
		{name: "variant", opts: safetensors.ModelWriterOptions{Variant: "fp16", MaxShardSize: 24},
			want: []string{"model.fp16-00001-of-00002.safetensors", "model.fp16-00002-of-00002.safetensors", "model.safetensors.index.fp16.json"}},
		{name: "stem", opts: safetensors.ModelWriterOptions{Stem: "adapter_model"}, want: []string{"adapter_model.safetensors"}},
		{name: "map", opts: safetensors.ModelWriterOptions{WeightMap: map[string]string{"a": "x.safetensors", three[1].Name: "y.safetensors", "c": "x.safetensors"}},
			want: []string{"model.safetensors.index.json", "x.safetensors", "y.safetensors"}},
		{name: "map of one other file", opts: safetensors.ModelWriterOptions{WeightMap: map[string]string{"a": "x.safetensors", three[1].Name: "x.safetensors", "c": "x.safetensors"}},
			want: []string{"model.safetensors.index.json", "x.safetensors"}},
		{name: "map of the single file", opts: safetensors.ModelWriterOptions{WeightMap: map[string]string{"a": "model.safetensors", three[1].Name: "model.safetensors", "c": "model.safetensors"}},
			want: []string{"model.safetensors"}},
		{name: "map without a tensor", opts: safetensors.ModelWriterOptions{WeightMap: map[string]string{"a": "x.safetensors"}}, err: "names no file"},
		{name: "map out of the directory", opts: safetensors.ModelWriterOptions{WeightMap: map[string]string{"a": "../x.safetensors"}}, err: "no plain name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			m, err := safetensors.NewModelWriter(dir, three, nil, &c.opts)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				require.Empty(t, list(t, dir))
				return
			}
			require.NoError(t, err)
			defer m.Abort()
			require.NoError(t, fill(m, 1))
			require.NoError(t, m.Commit())
			require.Equal(t, c.want, list(t, dir))
			for _, name := range c.want {
				if strings.HasSuffix(name, ".json") {
					var index struct {
						Metadata  map[string]int    `json:"metadata"`
						WeightMap map[string]string `json:"weight_map"`
					}
					text, err := os.ReadFile(filepath.Join(dir, name))
					require.NoError(t, err)
					require.NoError(t, json.Unmarshal(text, &index))
					require.Len(t, index.WeightMap, 3)
					require.Contains(t, index.WeightMap, three[1].Name)
					require.Equal(t, map[string]int{"total_parameters": 28, "total_size": 28}, index.Metadata)
				}
			}
		})
	}
	_, err := safetensors.NewModelWriter(t.TempDir(), append(three, three[0]), nil, &safetensors.ModelWriterOptions{MaxShardSize: 4})
	require.ErrorContains(t, err, "given twice", "in different shards too")
}

func list(t require.TestingT, dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestModelWriterStale(t *testing.T) {
	dir := t.TempDir()
	tensors := []safetensors.TensorInfo{info("a", safetensors.U8, 4), info("b", safetensors.U8, 4)}
	save := func(o safetensors.ModelWriterOptions) (*safetensors.ModelWriter, error) {
		m, err := safetensors.NewModelWriter(dir, tensors, nil, &o)
		if err != nil {
			return nil, err
		}
		defer m.Abort()
		return m, errors.Join(fill(m, 1), m.Commit())
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "model-00001-of-00003.safetensors.bak"), nil, 0o600))
	_, err := save(safetensors.ModelWriterOptions{MaxShardSize: 4})
	require.NoError(t, err)
	before := list(t, dir)
	_, err = save(safetensors.ModelWriterOptions{})
	require.ErrorContains(t, err, "3 files of an earlier save")
	require.Equal(t, before, list(t, dir))
	m, err := save(safetensors.ModelWriterOptions{RemoveStale: true})
	require.NoError(t, err)
	require.Equal(t, []string{"model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}, m.Stale())
	require.Equal(t, []string{"config.json", "model-00001-of-00003.safetensors.bak", "model.safetensors"}, list(t, dir))
}

// loads tells what a loader that follows transformers gets out of dir: the byte
// that all tensors are filled with, "" if there is no model, or "mix".
func loads(t *testing.T, dir string) string {
	names := []string{"model.safetensors"}
	if _, err := os.Stat(filepath.Join(dir, names[0])); err != nil {
		text, err := os.ReadFile(filepath.Join(dir, "model.safetensors.index.json"))
		if err != nil {
			return ""
		}
		var index struct {
			WeightMap map[string]string `json:"weight_map"`
		}
		require.NoError(t, json.Unmarshal(text, &index))
		names = nil
		for _, name := range index.WeightMap {
			names = append(names, name)
		}
	}
	seen := ""
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return ""
		}
		_, data := readAll(t, filepath.Join(dir, name))
		for _, content := range data {
			if s := string(content[:1]); seen != "" && seen != s {
				return "mix"
			} else {
				seen = s
			}
		}
	}
	return seen
}

func TestKilledModelWriter(t *testing.T) {
	tensors := []safetensors.TensorInfo{info("a", safetensors.U8, 4), info("b", safetensors.U8, 4), info("c", safetensors.U8, 4)}
	for _, c := range []struct {
		name     string
		old, new uint64 // max shard sizes
		missing  bool   // a crash may leave no model
	}{
		{name: "one file over one", old: 100, new: 100},
		{name: "shards over as many shards", old: 4, new: 4, missing: true},
		{name: "shards over other shards", old: 4, new: 8},
		{name: "one file over shards", old: 4, new: 100},
		{name: "shards over one file", old: 100, new: 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			states := make(map[string]bool)
			for n := 0; ; n++ {
				dir := t.TempDir()
				save := func(size uint64, content byte, step func(op, path string) error) error {
					m, err := safetensors.NewModelWriter(dir, tensors, nil, &safetensors.ModelWriterOptions{
						MaxShardSize: size, RemoveStale: true, WriterOptions: safetensors.WriterOptions{Step: step}})
					if err != nil {
						return err
					}
					defer m.Abort()
					return errors.Join(fill(m, content), m.Commit())
				}
				require.NoError(t, save(c.old, 'o', nil))
				err := save(c.new, 'n', killAfter(n))
				state := loads(t, dir)
				states[state] = true
				if err == nil {
					require.Equal(t, "n", state)
					break
				}
				require.ErrorIs(t, err, errKilled)
				for _, name := range list(t, dir) {
					require.True(t, strings.HasPrefix(name, "model") || atomicfile.IsTemp(name), name)
				}
			}
			want := map[string]bool{"o": true, "n": true}
			if c.missing {
				want[""] = true
			}
			require.Equal(t, want, states)
		})
	}
}

func TestRandomModels(t *testing.T) {
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		tensors, data := drawTensors(t)
		n++
		dir := filepath.Join(base, fmt.Sprint(n))
		require.NoError(t, os.Mkdir(dir, 0o700))
		m, err := safetensors.NewModelWriter(dir, tensors, nil, &safetensors.ModelWriterOptions{MaxShardSize: rapid.Uint64Range(1, 200).Draw(t, "size")})
		require.NoError(t, err)
		defer m.Abort()
		require.NoError(t, writeAnyhow(t, m.Tensor, data))
		require.NoError(t, m.Commit())
		model, err := safetensors.OpenModel(os.DirFS(dir), nil)
		require.NoError(t, err)
		defer model.Close()
		require.Zero(t, model.Report().Count(diag.Error), "%v", model.Report().Problems())
		got := make(map[string][]byte)
		for name, tensor := range model.All() {
			info := tensor.Info()
			got[name] = make([]byte, info.Bytes())
			require.NoError(t, tensor.ReadInto(t.Context(), got[name]))
		}
		require.Equal(t, data, got)
	})
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]uint64{"5GB": 5e9, "1.5 mb": 1.5e6, " 20KB ": 20000, "2TB": 2e12, "0": 0, "123": 123, "50GB": safetensors.DefaultMaxShardSize} {
		got, err := safetensors.ParseSize(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "GB", "-1KB", "5GiB", "5MBKB", "1e30TB", "NaNGB", "infKB"} {
		_, err := safetensors.ParseSize(s)
		require.Error(t, err, s)
	}
}
