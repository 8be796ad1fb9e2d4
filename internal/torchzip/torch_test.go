package torchzip

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/internal/pickle"
)

// good returns the files of testdata that torch wrote.
func good(t testing.TB) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"*.pt", "*.pth", "*.bin"} {
		found, err := filepath.Glob("testdata/" + pattern)
		require.NoError(t, err)
		files = append(files, found...)
	}
	require.GreaterOrEqual(t, len(files), 15)
	return files
}

func load(t testing.TB, data []byte) *Contents {
	t.Helper()
	a, err := Open(t.Context(), bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	c, err := a.Load(t.Context(), nil)
	require.NoError(t, err)
	return c
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	return data
}

// torchTensor is a line of testdata/torch_files.py describe.
type torchTensor struct {
	Path         string  `json:"path"`
	DType        string  `json:"dtype"`
	Shape        []int64 `json:"shape"`
	Strides      []int64 `json:"strides"`
	Offset       int64   `json:"offset"`
	Storage      int64   `json:"storage"`
	RequiresGrad bool    `json:"requires_grad"`
	Data         string  `json:"data"`
}

func describeAll(t *testing.T, c *Contents, file []byte) []torchTensor {
	var all []torchTensor
	for v := range c.Root.All() {
		// Only what a Python dict, list or tuple leads to, as the script does.
		if v.Kind() == pickle.TensorKind && !strings.Contains(v.Path(), "()") {
			tensor, err := v.Tensor()
			require.NoError(t, err)
			all = append(all, describeTensor(t, c, v.Path(), tensor, file))
		}
	}
	return all
}

func describeTensor(t *testing.T, c *Contents, path string, tensor *pickle.Tensor, file []byte) torchTensor {
	span, err := c.Storage(tensor.Storage)
	require.NoError(t, err)
	require.LessOrEqual(t, span.Offset+span.Size, int64(len(file)))
	elements := gather(tensor, file[span.Offset:span.Offset+span.Size])
	if tensor.Contiguous() {
		s, err := c.Tensor(tensor)
		require.NoError(t, err)
		require.True(t, bytes.Equal(elements, file[s.Offset:s.Offset+s.Size]), path)
	} else {
		_, err := c.Tensor(tensor)
		require.ErrorIs(t, err, ErrStrided)
	}
	data := hex.EncodeToString(elements)
	if len(elements) > 64 {
		sum := sha256.Sum256(elements)
		data = "sha256:" + hex.EncodeToString(sum[:])
	}
	return torchTensor{path, tensor.DType.String(), append([]int64{}, tensor.Shape()...), append([]int64{}, tensor.Strides()...),
		tensor.Offset, tensor.Storage.Bytes(), tensor.RequiresGrad, data}
}

// gather returns the elements of a strided tensor in the order of their indexes.
func gather(tensor *pickle.Tensor, storage []byte) []byte {
	size := tensor.DType.Size()
	offsets := []int64{tensor.Offset}
	for i, n := range tensor.Shape() {
		var next []int64
		for _, o := range offsets {
			for j := range n {
				next = append(next, o+j*tensor.Strides()[i])
			}
		}
		offsets = next
	}
	var out []byte
	for _, o := range offsets {
		out = append(out, storage[o*size:(o+1)*size]...)
	}
	return out
}

func parseLines(t *testing.T, data []byte) []torchTensor {
	var all []torchTensor
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		var tensor torchTensor
		require.NoError(t, json.Unmarshal(lines.Bytes(), &tensor))
		all = append(all, tensor)
	}
	require.NoError(t, lines.Err())
	return all
}

// Every tensor of every file has the dtype, shape, strides and bytes that torch
// gives it.
func TestTensorsAsTorch(t *testing.T) {
	for _, name := range good(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			golden, err := os.ReadFile(name + ".jsonl")
			if errors.Is(err, os.ErrNotExist) {
				golden = nil // training_args.bin and scheduler.pt hold no tensors
			} else {
				require.NoError(t, err)
			}
			file := readFile(t, name)
			require.Equal(t, parseLines(t, golden), describeAll(t, load(t, file), file))
		})
	}
}

// The recorded answers are those that the installed torch gives.
func TestTensorsAsInstalledTorch(t *testing.T) {
	python := os.Getenv("SAFECKPT_PYTHON")
	if python == "" {
		t.Skip("SKIPPED: set SAFECKPT_PYTHON to a Python with torch to compare with it")
	}
	fresh := t.TempDir()
	out, err := exec.Command(python, "testdata/torch_files.py", "make", fresh).CombinedOutput()
	require.NoError(t, err, "%s", out)
	made, err := filepath.Glob(fresh + "/*.pt")
	require.NoError(t, err)
	require.Len(t, made, 4)
	for _, name := range append(good(t), made...) {
		cmd := exec.Command(python, "testdata/torch_files.py", "describe", name)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		require.NoError(t, err, "%s: %s", name, &stderr)
		file := readFile(t, name)
		require.Equal(t, parseLines(t, out), describeAll(t, load(t, file), file), name)
	}
}

// torch shares bytes between tensors; so do ours, in both containers.
func TestSharedStorages(t *testing.T) {
	for _, name := range []string{"torch_zip.pt", "torch_zip_p5.pt", "torch_legacy.pt"} {
		c := load(t, readFile(t, "testdata/"+name))
		first, err := c.Root.Get("shared", 0).Tensor()
		require.NoError(t, err)
		for i := range c.Root.Get("shared").Len() {
			tensor, err := c.Root.Get("shared", i).Tensor()
			require.NoError(t, err)
			require.Same(t, first.Storage, tensor.Storage, name)
		}
		other, err := c.Root.Get("scalars", 0).Tensor()
		require.NoError(t, err)
		require.NotSame(t, first.Storage, other.Storage)
	}
}

// Tensors whose bytes are not their value stay inert.
func TestNotPlainTensors(t *testing.T) {
	for _, name := range []string{"torch_zip.pt", "torch_legacy.pt"} {
		c := load(t, readFile(t, "testdata/"+name))
		for _, key := range []string{"negated", "sparse"} {
			_, err := c.Root.Get(key).Tensor()
			require.ErrorIs(t, err, pickle.ErrType)
			require.ErrorContains(t, err, "."+key+": want a tensor, found an object of torch._utils._rebuild_")
		}
		other := c.Root.Get("other")
		size, err := other.Get(0).Ints()
		require.NoError(t, err)
		require.Equal(t, []int64{2, 3}, size)
		dtype, err := other.Get(1).DType()
		require.NoError(t, err)
		require.Equal(t, "F16", dtype.HeaderName())
		device, err := other.Get(2).Text()
		require.NoError(t, err)
		require.Equal(t, "cuda:1", device)
	}
}

func TestScalar(t *testing.T) {
	c := load(t, readFile(t, "testdata/torch_zip.pt"))
	for i, want := range []float64{3.5, 7, 1} {
		tensor, err := c.Root.Get("scalars", i).Tensor()
		require.NoError(t, err)
		got, err := c.Scalar(tensor)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	tensor, err := c.Root.Get("shared", 0).Tensor()
	require.NoError(t, err)
	_, err = c.Scalar(tensor)
	require.ErrorContains(t, err, "tensor of 24 elements, want one")

	c = load(t, readFile(t, "testdata/trainer_optimizer.pt"))
	step, err := c.Root.Get("state", 0, "step").Tensor()
	require.NoError(t, err)
	got, err := c.Scalar(step)
	require.NoError(t, err)
	require.Equal(t, 10.0, got)
}

// What the Trainer was told is read from training_args.bin, whose classes are
// not known here.
func TestTrainingArgs(t *testing.T) {
	args := load(t, readFile(t, "testdata/trainer_args.bin")).Root
	module, class, ok := args.Class()
	require.True(t, ok)
	require.Equal(t, "transformers.training_args.TrainingArguments", module+"."+class)

	for key, want := range map[string]string{"save_strategy": "steps", "optim": "adamw_torch_fused", "output_dir": "outputs/full-best-limit2-peak2", "eval_strategy": "steps"} {
		got, err := args.Get(key).Enum().Text()
		require.NoError(t, err)
		require.Equal(t, want, got, key)
	}
	for key, want := range map[string]int64{"save_total_limit": 2, "save_steps": 10} {
		got, err := args.Get(key).Int()
		require.NoError(t, err)
		require.Equal(t, want, got, key)
	}
	require.True(t, args.Get("deepspeed").IsNone())
	_, err := args.Get("save_strategy").Text()
	require.EqualError(t, err, ".save_strategy: want a string, found an object of transformers.trainer_utils.SaveStrategy (at byte 2106)")

	args = load(t, readFile(t, "testdata/trainer_args_deepspeed.bin")).Root
	stage, err := args.Get("deepspeed", "zero_optimization", "stage").Int()
	require.NoError(t, err)
	require.EqualValues(t, 2, stage)
}

// The keys that a merge of DeepSpeed's rank files goes by.
func TestZeroFiles(t *testing.T) {
	for _, name := range []string{"zero2_optim_states.pt", "zero2_legacy_optim_states.pt"} {
		c := load(t, readFile(t, "testdata/"+name))
		root := c.Root.Get("optimizer_state_dict")
		stage, err := root.Get("zero_stage").Enum().Int()
		require.NoError(t, err)
		require.EqualValues(t, 2, stage)
		count, err := root.Get("partition_count").Ints()
		require.NoError(t, err)
		require.Equal(t, []int64{2, 2}, count)
		flat, err := root.Get("single_partition_of_fp32_groups", 0).Tensor()
		require.NoError(t, err)
		require.Equal(t, []int64{442}, flat.Shape())
		numel, err := root.Get("param_slice_mappings", 0, "embed.weight", "numel").Int()
		require.NoError(t, err)
		require.Positive(t, numel)
	}
	c := load(t, readFile(t, "testdata/zero3_optim_states.pt"))
	flat, err := c.Root.Get("optimizer_state_dict", "fp32_flat_groups", 0).Tensor()
	require.NoError(t, err, "wrapped in _rebuild_from_type_v2")
	require.Equal(t, "float32", flat.DType.String())

	c = load(t, readFile(t, "testdata/zero2_client_model_states.pt"))
	lr, err := c.Root.Get("args", "lr").Float() // an argparse.Namespace
	require.NoError(t, err)
	require.Equal(t, 0.1, lr)
	require.Equal(t, pickle.Set, c.Root.Get("seen").Kind())
	b, err := c.Root.Get("t", 3).Bytes()
	require.NoError(t, err)
	require.Equal(t, []byte("x"), b)
}

func TestContextEnds(t *testing.T) {
	data := readFile(t, "testdata/torch_zip.pt")
	a, err := Open(t.Context(), bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = a.Load(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
	_, err = a.Check(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
}
