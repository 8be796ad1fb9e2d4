package safetensors_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// shard returns a file of U8 tensors of four bytes each.
func shard(names ...string) []byte {
	var entries []string
	for i, name := range names {
		entries = append(entries, fmt.Sprintf(`%q:{"dtype":"U8","shape":[4],"data_offsets":[%d,%d]}`, name, 4*i, 4*i+4))
	}
	return raw("{"+strings.Join(entries, ",")+"}", count(4*len(names)))
}

func indexOf(t testing.TB, totalSize any, weightMap map[string]string) []byte {
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": totalSize}, "weight_map": weightMap})
	require.NoError(t, err)
	return text
}

const (
	shard1, shard2 = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
	indexName      = "model.safetensors.index.json"
)

// wholeModel is two shards and their index.
func wholeModel(t testing.TB) fstest.MapFS {
	return fstest.MapFS{
		shard1:    {Data: shard("embed", "layers.0.w")},
		shard2:    {Data: shard("layers.1.w", "layers.2.w", "head")},
		indexName: {Data: indexOf(t, 20, map[string]string{"embed": shard1, "layers.0.w": shard1, "layers.1.w": shard2, "layers.2.w": shard2, "head": shard2})},
	}
}

func openModel(t testing.TB, fsys fs.FS, opts *safetensors.OpenOptions) *safetensors.Model {
	t.Helper()
	m, err := safetensors.OpenModel(fsys, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

func TestModel(t *testing.T) {
	m := openModel(t, wholeModel(t), nil)
	require.Zero(t, m.Report().Count(diag.Error)+m.Report().Count(diag.Warning), text(t, m.Report()))
	require.Equal(t, indexName, m.Name())
	require.Len(t, m.WeightMap(), 5)
	require.Equal(t, json.Number("20"), m.IndexMetadata()["total_size"])
	var names []string
	for name, tensor := range m.All() {
		names = append(names, name)
		require.Equal(t, m.WeightMap()[name], tensor.File().Name())
	}
	require.Equal(t, []string{"embed", "layers.0.w", "layers.1.w", "layers.2.w", "head"}, names)
	tensor, err := m.Tensor("layers.2.w")
	require.NoError(t, err)
	dst := make([]byte, 4)
	require.NoError(t, tensor.ReadInto(t.Context(), dst))
	require.Equal(t, []byte{4, 5, 6, 7}, dst)
	_, err = m.Tensor("none")
	require.ErrorIs(t, err, safetensors.ErrNoTensor)
	require.NoError(t, m.Close())
	require.ErrorIs(t, tensor.ReadInto(t.Context(), dst), safetensors.ErrClosed)
}

// TestModelProblems damages a whole model in one way each.
func TestModelProblems(t *testing.T) {
	weightMap := func(t *testing.T, fsys fstest.MapFS, edit func(map[string]string)) {
		var ix struct {
			WeightMap map[string]string `json:"weight_map"`
		}
		require.NoError(t, json.Unmarshal(fsys[indexName].Data, &ix))
		edit(ix.WeightMap)
		fsys[indexName] = &fstest.MapFile{Data: indexOf(t, 20, ix.WeightMap)}
	}
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, fsys fstest.MapFS)
		code   diag.Code
		file   string
		tensor string
		text   string
		usable int // tensors that can still be had
	}{
		{"missing shard", func(t *testing.T, fsys fstest.MapFS) { delete(fsys, shard2) },
			diag.ShardMissing, shard2, "", "missing " + shard2 + " of 2 files; 3 tensors lost with it: head, layers.{1-2} (2)", 2},
		{"cut shard", func(t *testing.T, fsys fstest.MapFS) {
			fsys[shard2].Data = fsys[shard2].Data[:len(fsys[shard2].Data)-6]
		},
			diag.FileTruncated, shard2, "layers.2.w", "2 of 3 tensors incomplete, first: layers.2.w", 2},
		{"pointer", func(t *testing.T, fsys fstest.MapFS) {
			fsys[shard2].Data = []byte("version https://git-lfs.github.com/spec/v1\noid sha256:9f\nsize 49\n")
		}, diag.FileLFSPointer, shard2, "", "LFS pointer", 2},
		{"not a file", func(t *testing.T, fsys fstest.MapFS) { fsys[shard2] = &fstest.MapFile{Mode: fs.ModeDir} },
			diag.FileNotRegular, shard2, "", "is a directory", 2},
		{"tensor absent", func(t *testing.T, fsys fstest.MapFS) {
			weightMap(t, fsys, func(m map[string]string) { m["extra"] = shard1 })
		}, diag.TensorNotInShard, indexName, "extra", "places extra in " + shard1 + ", which does not hold it", 5},
		{"misplaced", func(t *testing.T, fsys fstest.MapFS) {
			weightMap(t, fsys, func(m map[string]string) { m["embed"] = shard2 })
		}, diag.TensorMisplaced, indexName, "embed", "places embed in " + shard2 + ", it is in " + shard1, 5},
		{"not in the index", func(t *testing.T, fsys fstest.MapFS) {
			weightMap(t, fsys, func(m map[string]string) { delete(m, "embed") })
		}, diag.TensorNotInIndex, shard1, "embed", "embed is in " + shard1 + " but not in the index", 5},
		{"twice", func(t *testing.T, fsys fstest.MapFS) { fsys[shard1].Data = shard("embed", "layers.0.w", "head") },
			diag.TensorTwice, shard2, "head", "head is in 2 files", 5},
		{"stray shard", func(t *testing.T, fsys fstest.MapFS) {
			fsys["model-00003-of-00003.safetensors"] = &fstest.MapFile{Data: shard("x")}
		}, diag.ShardStray, "model-00003-of-00003.safetensors", "", indexName + " does not name it", 5},
		{"index counts less", func(t *testing.T, fsys fstest.MapFS) {
			weightMap(t, fsys, func(m map[string]string) { m["layers.1.w"], m["layers.2.w"], m["head"] = shard1, shard1, shard1 })
		}, diag.ShardCount, indexName, "", "the index has 1 of the 2 shards that the names of the files announce", 2},
		{"total_size", func(t *testing.T, fsys fstest.MapFS) {
			fsys[indexName].Data = []byte(strings.Replace(string(fsys[indexName].Data), "20", "21", 1))
		}, diag.IndexTotalSize, indexName, "", "total_size of the index is 21, the tensors take 20 bytes", 5},
		{"duplicate name", func(t *testing.T, fsys fstest.MapFS) {
			fsys[indexName].Data = []byte(strings.Replace(string(fsys[indexName].Data), `"embed":`, `"embed":"`+shard2+`","embed":`, 1))
		}, diag.IndexDuplicate, indexName, "", "embed is twice", 5},
		{"index cut", func(t *testing.T, fsys fstest.MapFS) { fsys[indexName].Data = fsys[indexName].Data[:60] },
			diag.IndexInvalid, indexName, "", "no valid JSON", 5},
		{"index is a page", func(t *testing.T, fsys fstest.MapFS) { fsys[indexName].Data = []byte("<html></html>") },
			diag.FileHTML, indexName, "", "web page", 5},
		{"index without a map", func(t *testing.T, fsys fstest.MapFS) { fsys[indexName].Data = []byte(`{"weight_map":[]}`) },
			diag.IndexInvalid, indexName, "", "weight_map of the index is an array, want an object", 5},
		{"empty map", func(t *testing.T, fsys fstest.MapFS) { fsys[indexName].Data = []byte(`{"weight_map":{}}`) },
			diag.IndexInvalid, indexName, "", "is empty", 5},
		{"file is no string", func(t *testing.T, fsys fstest.MapFS) {
			fsys[indexName].Data = []byte(strings.Replace(string(fsys[indexName].Data), `"`+shard1+`"`, "7", 1))
		}, diag.IndexInvalid, indexName, "embed", "weight_map gives a number as the file of embed, want a string", 5},
		{"no index", func(t *testing.T, fsys fstest.MapFS) { delete(fsys, indexName) },
			diag.IndexMissing, "", "", "2 shards, but no index", 5},
		{"no index and not all", func(t *testing.T, fsys fstest.MapFS) { delete(fsys, indexName); delete(fsys, shard1) },
			diag.ShardCount, "", "", "found 1 of the 2 shards that the names of the files announce", 3},
		{"single file too", func(t *testing.T, fsys fstest.MapFS) { fsys["model.safetensors"] = &fstest.MapFile{Data: shard("all")} },
			diag.IndexBesideSingle, indexName, "", indexName + " lies beside model.safetensors", 1},
		{"broken single file", func(t *testing.T, fsys fstest.MapFS) {
			clear(fsys)
			fsys["model.safetensors"] = &fstest.MapFile{}
		}, diag.FileEmpty, "model.safetensors", "", "empty", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fsys := wholeModel(t)
			tt.damage(t, fsys)
			m := openModel(t, fsys, nil)
			i := slices.IndexFunc(m.Report().Problems(), func(p diag.Problem) bool { return p.Code == tt.code })
			require.GreaterOrEqual(t, i, 0, "want %s in\n%s", tt.code, text(t, m.Report()))
			p := m.Report().Problems()[i]
			require.Equal(t, tt.file, p.File)
			require.Equal(t, tt.tensor, p.Tensor)
			require.Contains(t, p.Message, tt.text)
			if p.Severity == diag.Error {
				require.NotEmpty(t, p.Cause)
				require.NotEmpty(t, p.Fix)
			}
			n := 0
			for range m.All() {
				n++
			}
			require.Equal(t, tt.usable, n)
		})
	}
}

func TestModelUnsafeNames(t *testing.T) {
	for _, name := range []string{"../x.safetensors", "/etc/passwd", `a\b.safetensors`, "https://host/x", "a\x00b", "a\x1b[31mb", "a\nb", "\u202ea", "", ".", "a/../../b", "C:x"} {
		fsys := fstest.MapFS{indexName: {Data: indexOf(t, 4, map[string]string{"a": name, "b": shard1})}, shard1: {Data: shard("b")}}
		m := openModel(t, fsys, nil)
		require.True(t, m.Report().Has(diag.IndexUnsafeName), "%q", name)
		require.Len(t, m.Files(), 1)
	}
}

// TestFindModel looks which file of a directory stands for the model.
func TestFindModel(t *testing.T) {
	ix := func(file string) []byte { return indexOf(t, 4, map[string]string{"a": file}) }
	for _, tt := range []struct {
		files         string // "name" or "index=file it names", by blanks
		stem, variant string
		want          string // "" and an error
	}{
		{"model.safetensors", "", "", "model.safetensors"},
		{"model.safetensors adapter_model.safetensors optimizer.safetensors", "", "", "model.safetensors"},
		{"model.safetensors.index.json=model.safetensors model.safetensors", "", "", "model.safetensors.index.json"},
		{"model.fp16.safetensors", "", "", "model.fp16.safetensors"},
		{"model.fp16.safetensors", "", "fp16", "model.fp16.safetensors"},
		{"model.safetensors model.fp16.safetensors", "", "", "model.safetensors"},
		{"model.safetensors model.fp16.safetensors", "", "fp16", "model.fp16.safetensors"},
		{"model.safetensors", "", "bf16", ""},
		{"model.fp16.safetensors model.bf16.safetensors", "", "", ""},
		{"model.safetensors.index.fp16.json=model.fp16-00001-of-00001.safetensors model.fp16-00001-of-00001.safetensors", "", "", "model.safetensors.index.fp16.json"},
		{"diffusion_pytorch_model.fp16.safetensors", "", "", "diffusion_pytorch_model.fp16.safetensors"},
		{"diffusion_pytorch_model.safetensors.index.json=x.safetensors x.safetensors", "diffusion_pytorch_model", "", "diffusion_pytorch_model.safetensors.index.json"},
		{"Qwen2.5-7B.safetensors", "", "", "Qwen2.5-7B.safetensors"},
		{"a.safetensors b.safetensors", "", "", ""},
		{"a.safetensors b.safetensors", "b", "", "b.safetensors"},
		{"adapter_model.safetensors", "", "", ""},
		{"adapter_model.safetensors", "adapter_model", "", "adapter_model.safetensors"},
		{"._model.safetensors pytorch_model.bin", "", "", ""},
	} {
		t.Run(tt.files+" "+tt.stem+" "+tt.variant, func(t *testing.T) {
			fsys := make(fstest.MapFS)
			for _, name := range strings.Fields(tt.files) {
				if name, file, ok := strings.Cut(name, "="); ok {
					fsys[name] = &fstest.MapFile{Data: ix(file)}
				} else {
					fsys[name] = &fstest.MapFile{Data: shard("a")}
				}
			}
			m, err := safetensors.OpenModel(fsys, &safetensors.OpenOptions{Stem: tt.stem, Variant: tt.variant})
			if tt.want == "" {
				require.ErrorIs(t, err, safetensors.ErrNoModel)
				require.ErrorIs(t, err, fs.ErrNotExist)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want, m.Name())
			_, err = m.Tensor("a")
			require.NoError(t, err)
			require.Zero(t, m.Report().Count(diag.Error)+m.Report().Count(diag.Warning), text(t, m.Report()))
		})
	}
}

// TestModelInCache opens a snapshot as the Hugging Face cache keeps it, and one
// whose blob is gone.
func TestModelInCache(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symbolic links need a privilege on Windows")
	}
	dir := t.TempDir()
	snapshot := filepath.Join(dir, "snapshots", "rev")
	require.NoError(t, os.MkdirAll(snapshot, 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "blobs"), 0o755))
	for name, file := range wholeModel(t) {
		blob := filepath.Join("..", "..", "blobs", name+".blob")
		require.NoError(t, os.WriteFile(filepath.Join(snapshot, blob), file.Data, 0o644))
		require.NoError(t, os.Symlink(blob, filepath.Join(snapshot, name)))
	}
	m := openModel(t, os.DirFS(snapshot), nil)
	require.NoError(t, m.Report().Err())
	tensor, err := m.Tensor("head")
	require.NoError(t, err)
	data, err := tensor.Bytes()
	require.NoError(t, err, "mapped through os.DirFS")
	require.Equal(t, []byte{8, 9, 10, 11}, data)

	require.NoError(t, os.Remove(filepath.Join(dir, "blobs", shard1+".blob")))
	m = openModel(t, os.DirFS(snapshot), nil)
	require.ErrorIs(t, m.Report().Err(), diag.ShardMissing)
	require.Contains(t, text(t, m.Report()), "symbolic link to a file that is gone")
}

// TestManyShards opens more shards than are opened at a time.
func TestManyShards(t *testing.T) {
	fsys, weightMap := make(fstest.MapFS), make(map[string]string)
	const n = 300
	for i := range n {
		file, tensor := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, n), fmt.Sprintf("layers.%d.w", i)
		fsys[file], weightMap[tensor] = &fstest.MapFile{Data: shard(tensor)}, file
	}
	fsys[indexName] = &fstest.MapFile{Data: indexOf(t, 4*n, weightMap)}
	for _, k := range []int{0, 1, 1000} {
		m := openModel(t, fsys, &safetensors.OpenOptions{Concurrency: k})
		require.NoError(t, m.Report().Err())
		require.Len(t, m.Files(), n)
	}
}
