package zero_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint/zero"
	"github.com/safeckpt/safeckpt/safetensors"
)

// expectation is what DeepSpeed's own script makes of a fixture (expected.json).
type expectation struct {
	Tensors map[string]struct {
		Shape  []uint64
		DType  string
		SHA256 string
	}
	RightShapes   map[string][]uint64 `json:"right_shapes"`
	Aliases       map[string]string
	WithoutFrozen []string `json:"names_with_exclude_frozen_parameters"`
}

// fixtures returns the checkpoints that have an expectation with tensors.
func fixtures(t testing.TB) map[string]*expectation {
	var files []string
	for _, pattern := range []string{"testdata/*/expected.json", "testdata/hf-*/checkpoint-6/expected.json"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		files = append(files, found...)
	}
	all := make(map[string]*expectation)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		x := &expectation{}
		require.NoError(t, json.Unmarshal(text, x))
		dir, err := filepath.Rel("testdata", filepath.Dir(file))
		require.NoError(t, err)
		if dir != "tp-z1-bf16-tp2" && x.Tensors != nil {
			all[dir] = x
		}
	}
	require.Len(t, all, 30)
	return all
}

type got struct {
	DType string
	Shape []uint64
	Data  []byte
}

func readFile(t testing.TB, name string) map[string]got {
	f, err := safetensors.Open(name, nil)
	require.NoError(t, err)
	defer f.Close()
	all := make(map[string]got)
	for name, tensor := range f.All() {
		data, err := io.ReadAll(tensor.Open())
		require.NoError(t, err)
		info := tensor.Info()
		all[name] = got{info.DType.String(), append([]uint64{}, info.Shape...), data}
	}
	return all
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

func merge(t testing.TB, dir string, o *zero.MergeOptions) (map[string]got, *zero.Shards) {
	s, err := zero.Open(t.Context(), filepath.Join("testdata", dir), nil)
	require.NoError(t, err)
	out := filepath.Join(t.TempDir(), "out.safetensors")
	stats, err := s.Merge(t.Context(), out, o)
	require.NoError(t, err)
	require.Equal(t, []string{out}, stats.Files)
	all := readFile(t, out)
	require.Len(t, all, stats.Tensors)
	return all, s
}

func TestMergeAsDeepSpeed(t *testing.T) {
	for dir, x := range fixtures(t) {
		t.Run(dir, func(t *testing.T) {
			all, s := merge(t, dir, &zero.MergeOptions{Verify: true, CheckCRC: true})
			for name, want := range x.Tensors {
				require.Contains(t, all, name)
				if right, ok := x.RightShapes[name]; ok {
					want.Shape = right
				}
				g := all[name]
				require.Equal(t, want.DType, g.DType, name)
				require.Equal(t, want.Shape, g.Shape, name)
				require.Equal(t, want.SHA256, sum(g.Data), name)
				delete(all, name)
			}
			if s.Report().Has("Z020") { // frozen weights of stage 1, which DeepSpeed leaves out
				require.NotEmpty(t, all)
				require.Equal(t, 1, s.Stage)
			} else {
				require.Empty(t, all)
			}
		})
	}
}
