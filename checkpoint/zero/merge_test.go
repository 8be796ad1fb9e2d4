package zero_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint/zero"
	"github.com/safeckpt/safeckpt/internal/atomicfile"
	"github.com/safeckpt/safeckpt/safetensors"
)

func TestMergePipeline(t *testing.T) {
	all, s := merge(t, "pipe-z1-bf16-pp2", &zero.MergeOptions{Verify: true})
	require.Equal(t, 1, s.Stage)
	shapes := make(map[string][]uint64)
	for name, g := range all {
		require.Equal(t, "F32", g.DType)
		shapes[name] = g.Shape
	}
	require.Equal(t, map[string][]uint64{"0.weight": {12, 8}, "0.bias": {12}, "2.weight": {10, 12}, "2.bias": {10}, "3.weight": {3, 10}, "3.bias": {3}}, shapes)
}

// TestMergeDType compares every fixture in 16 bits with the rounding of its
// float32 result, done here by the definition of rounding to nearest even.
func TestMergeDType(t *testing.T) {
	bits := map[safetensors.DType]func(float64) uint16{
		safetensors.BF16: func(x float64) uint16 { return nearest(x, 8, -126, 127) },
		safetensors.F16:  func(x float64) uint16 { return nearest(x, 11, -14, 15) },
	}
	for dir := range fixtures(t) {
		want, _ := merge(t, dir, nil)
		for d, round := range bits {
			t.Run(dir+"/"+d.String(), func(t *testing.T) {
				all, _ := merge(t, dir, &zero.MergeOptions{DType: d})
				require.Len(t, all, len(want))
				for name, w := range want {
					g := all[name]
					require.Equal(t, w.Shape, g.Shape)
					if w.DType != "F32" {
						require.Equal(t, w, g)
						continue
					}
					require.Equal(t, d.String(), g.DType)
					var rounded []byte
					for data := w.Data; len(data) > 0; data = data[4:] {
						x := math.Float32frombits(binary.LittleEndian.Uint32(data))
						rounded = binary.LittleEndian.AppendUint16(rounded, round(float64(x)))
					}
					require.Equal(t, rounded, append([]byte(nil), g.Data...), name)
				}
			})
		}
	}
}

// nearest rounds x to a 16-bit float of so many significant bits.
func nearest(x float64, significant, minExp, maxExp int) uint16 {
	sign := uint16(0)
	if math.Signbit(x) {
		sign, x = 0x8000, -x
	}
	if x == 0 {
		return sign
	}
	_, exp := math.Frexp(x)
	exp = max(exp-1, minExp)
	step := math.Ldexp(1, exp-significant+1)
	n := math.RoundToEven(x / step)
	if n == math.Ldexp(1, significant) {
		n, exp = n/2, exp+1
	}
	if exp > maxExp {
		return sign | uint16(maxExp-minExp+2)<<(significant-1)
	}
	return sign | uint16(float64(exp-minExp)*math.Ldexp(1, significant-1)+n) // subnormals lack the hidden bit
}

func TestMergeDirectory(t *testing.T) {
	src := "testdata/hf-z2-bf16-w2"
	want, _ := merge(t, "hf-z2-bf16-w2/checkpoint-6", nil)
	s, err := zero.Open(t.Context(), src, nil)
	require.NoError(t, err)
	require.Equal(t, "checkpoint-6/global_step6", s.Tag)
	require.Equal(t, int64(6), s.Step)
	out := filepath.Join(t.TempDir(), "new", "out")
	var last [2]int64
	stats, err := s.Merge(t.Context(), out, &zero.MergeOptions{MaxShardSize: 40_000, Progress: func(done, total int64) { last = [2]int64{done, total} }})
	require.NoError(t, err)
	require.Equal(t, [2]int64{stats.Bytes, stats.Bytes}, last)
	names := ls(t, out)
	require.Equal(t, []string{"config.json", "generation_config.json", "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors", "model.safetensors.index.json"}, names)
	all := make(map[string]got)
	for _, file := range stats.Files {
		for name, g := range readFile(t, file) {
			all[name] = g
		}
	}
	require.Equal(t, want, all)
	model, err := safetensors.OpenModel(os.DirFS(out), nil)
	require.NoError(t, err)
	defer model.Close()
	require.Zero(t, len(model.Report().Problems()), model.Report().Summary())
	_, err = s.Merge(t.Context(), out, nil)
	require.ErrorContains(t, err, "exists")
	stats, err = s.Merge(t.Context(), out, &zero.MergeOptions{Force: true})
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(out, "model.safetensors")}, stats.Files)
	require.Equal(t, []string{"config.json", "generation_config.json", "model.safetensors"}, ls(t, out))
}

// A file that is cut while it is copied is named, and nothing is left behind.
func TestMergeCutUnderneath(t *testing.T) {
	for _, dtype := range []safetensors.DType{safetensors.F32, safetensors.BF16} {
		t.Run(dtype.String(), func(t *testing.T) {
			src, out := t.TempDir(), t.TempDir()
			require.NoError(t, os.CopyFS(src, os.DirFS("testdata/hf-z2-bf16-w2")))
			s, err := zero.Open(t.Context(), src, nil)
			require.NoError(t, err)
			rank := "checkpoint-6/global_step6/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
			steps := 0
			cut := func(string, string) error {
				if steps++; steps == 4 { // after mkdir, create and the header
					return os.Truncate(filepath.Join(src, rank), 100)
				}
				return nil
			}
			_, err = s.Merge(t.Context(), filepath.Join(out, "merged.safetensors"), &zero.MergeOptions{DType: dtype, Step: cut, Workers: 1})
			require.ErrorContains(t, err, rank+" was changed while it was read (it had ")
			require.Empty(t, ls(t, out))
		})
	}
}

func ls(t testing.TB, dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestMergeAdapter(t *testing.T) {
	src := "testdata/hf-z3-lora-bf16-w2/checkpoint-6"
	s, err := zero.Open(t.Context(), src, nil)
	require.NoError(t, err)
	out := filepath.Join(t.TempDir(), "out")
	stats, err := s.Merge(t.Context(), out, &zero.MergeOptions{DType: safetensors.BF16})
	require.NoError(t, err)
	require.True(t, stats.Adapter)
	require.Equal(t, []string{"adapter_config.json", "adapter_model.safetensors"}, ls(t, out))
	// The Trainer has gathered the working copy: its names, and the same after rounding.
	require.Equal(t, readFile(t, filepath.Join(src, "adapter_model.safetensors")), readFile(t, stats.Files[0]))
}

func TestMergeTiesAndFrozen(t *testing.T) {
	want, _ := merge(t, "odd-z2-bf16-w4-g3", nil)
	all, _ := merge(t, "odd-z2-bf16-w4-g3", &zero.MergeOptions{Ties: zero.TiesDrop})
	require.Equal(t, want["head.weight"], want["embed.weight"])
	delete(want, "head.weight")
	require.Equal(t, want, all)
	for dir, x := range fixtures(t) {
		if x.WithoutFrozen == nil {
			continue
		}
		t.Run(dir, func(t *testing.T) {
			all, _ := merge(t, dir, &zero.MergeOptions{ExcludeFrozen: true})
			var names []string
			for name := range all {
				names = append(names, name)
			}
			require.ElementsMatch(t, x.WithoutFrozen, names)
		})
	}
}

func TestMergeTags(t *testing.T) {
	dir := "testdata/odd-z2-fp32-w2-twotags"
	for _, tag := range []string{"global_step2", "global_step3"} {
		s, err := zero.Open(t.Context(), dir, &zero.Options{Tag: tag})
		require.NoError(t, err)
		require.Equal(t, tag, s.Tag)
		inside, err := zero.Open(t.Context(), filepath.Join(dir, tag), nil)
		require.NoError(t, err)
		require.Equal(t, s.Tag, inside.Tag)
		fromFS, err := zero.OpenFS(t.Context(), os.DirFS(filepath.Join(dir, tag)), nil)
		require.NoError(t, err)
		require.Equal(t, s.Step, fromFS.Step)
	}
}

func TestMergeRefusesTargets(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	require.NoError(t, os.CopyFS(src, os.DirFS("testdata/odd-z2-fp16-w2-g2")))
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(src, link))
	s, err := zero.Open(t.Context(), src, nil)
	require.NoError(t, err)
	for _, out := range []string{"out", "out.safetensors", "global_step2/out", "new/new/out"} {
		for _, dir := range []string{src, link} {
			_, err := s.Merge(t.Context(), filepath.Join(dir, out), &zero.MergeOptions{Force: true})
			require.ErrorContains(t, err, "lies inside")
		}
	}
	_, err = s.Merge(t.Context(), src, &zero.MergeOptions{Force: true})
	require.ErrorContains(t, err, "lies inside")
	_, err = s.Merge(t.Context(), "testdata/bad", nil)
	require.ErrorContains(t, err, "exists")
	_, err = s.Merge(t.Context(), filepath.Join(t.TempDir(), "x"), &zero.MergeOptions{DType: safetensors.I8})
	require.ErrorContains(t, err, "I8")
	require.Equal(t, ls(t, "testdata/odd-z2-fp16-w2-g2"), ls(t, src))

	parent := t.TempDir()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Merge(canceled, filepath.Join(parent, "out"), nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, ls(t, parent))

	name := filepath.Join(src, "global_step2", "mp_rank_00_model_states.pt")
	require.NoError(t, os.Truncate(name, 5000))
	_, err = s.Merge(t.Context(), filepath.Join(parent, "out"), nil)
	require.ErrorContains(t, err, "was changed")
	require.Empty(t, ls(t, parent))
}

// TestMergeFailpoints stops a merge before each operation on files, as a crash
// would: the result is there whole, or not at all, and so is an old one.
func TestMergeFailpoints(t *testing.T) {
	dead := errors.New("dead")
	for _, c := range []struct {
		name, out  string
		old, empty bool
		limit      uint64
	}{{name: "file", out: "out.safetensors"}, {name: "old file", out: "out.safetensors", old: true}, {name: "directory", out: "out"},
		{name: "shards", out: "out", limit: 40_000}, {name: "old directory", out: "out", old: true}, {name: "empty directory", out: "out", empty: true}} {
		t.Run(c.name, func(t *testing.T) {
			s, err := zero.Open(t.Context(), "testdata/hf-z2-bf16-w2", nil)
			require.NoError(t, err)
			done := false
			for n := 0; !done; n++ {
				parent := t.TempDir()
				out := filepath.Join(parent, c.out)
				main := out
				if filepath.Ext(out) == "" {
					main = filepath.Join(out, "model.safetensors")
				}
				if c.old {
					require.NoError(t, os.MkdirAll(filepath.Dir(main), 0o777))
					require.NoError(t, os.WriteFile(main, []byte("old"), 0o600))
				}
				if c.empty {
					require.NoError(t, os.Mkdir(out, 0o777))
				}
				left := n
				_, err := s.Merge(t.Context(), out, &zero.MergeOptions{Force: c.old, Workers: 1, MaxShardSize: c.limit, Step: func(op, path string) error {
					if left--; left < 0 {
						return dead
					}
					return nil
				}})
				if done = err == nil; !done {
					require.ErrorIs(t, err, dead)
				}
				for _, name := range ls(t, parent) {
					require.True(t, name == c.out || atomicfile.IsTemp(name), name)
				}
				if c.limit > 0 {
					if _, err := os.Stat(out); err == nil {
						require.Len(t, ls(t, out), 6)
					}
					continue
				}
				text, err := os.ReadFile(main)
				switch {
				case errors.Is(err, fs.ErrNotExist):
					require.False(t, c.old || done)
				case string(text) == "old":
					require.True(t, c.old && !done)
				default:
					require.NoError(t, err)
					require.Len(t, readFile(t, main), 27)
				}
			}
		})
	}
}

func TestMergeFromPretrained(t *testing.T) {
	python := os.Getenv("SAFECKPT_PYTHON")
	if python == "" {
		t.Skip("SAFECKPT_PYTHON is not set: NOT compared with transformers")
	}
	src := "testdata/hf-z2-bf16-w2/checkpoint-6"
	s, err := zero.Open(t.Context(), src, nil)
	require.NoError(t, err)
	out := filepath.Join(t.TempDir(), "out")
	_, err = s.Merge(t.Context(), out, nil)
	require.NoError(t, err)
	bf16 := filepath.Join(t.TempDir(), "bf16")
	_, err = s.Merge(t.Context(), bf16, &zero.MergeOptions{DType: safetensors.BF16, MaxShardSize: 20_000})
	require.NoError(t, err)
	text, err := exec.Command(python, "-c", `
import sys, json, torch
from transformers import AutoModelForCausalLM
from safetensors.torch import load_file
src, out, bf16, want = sys.argv[1:]
ids = torch.arange(12).view(1, -1)
def logits(d, dtype):
    model, info = AutoModelForCausalLM.from_pretrained(d, dtype=dtype, output_loading_info=True)
    assert not any(info.values()), info
    return model, model(ids).logits
m, a = logits(out, torch.float32)
truth = load_file(want)
n = 0
for k, v in m.state_dict().items():
    assert torch.equal(v, truth[k]), k
    n += 1
_, b = logits(bf16, torch.bfloat16)
_, c = logits(src, torch.bfloat16)
print(json.dumps({"tensors": n, "bf16_equal": torch.equal(b, c), "close": (a - c).abs().max().item()}))
`, src, out, bf16, filepath.Join(src, "expected.safetensors")).Output()
	require.NoError(t, err)
	var r struct {
		Tensors int
		Equal   bool `json:"bf16_equal"`
		Close   float64
	}
	lines := slices.DeleteFunc(strings.Split(string(text), "\n"), func(s string) bool { return len(s) == 0 || s[0] != '{' })
	require.NotEmpty(t, lines)
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &r))
	require.Equal(t, 27, r.Tensors)
	require.True(t, r.Equal, "the bf16 weights give the logits of the Trainer's own model.safetensors")
	require.Less(t, r.Close, 0.05)
}
