package safetensors_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/safeckpt/safeckpt/internal/atomicfile"
	"github.com/safeckpt/safeckpt/safetensors"
)

var background = context.Background()

// readAll returns the tensors of a file with their bytes.
func readAll(t require.TestingT, name string) (*safetensors.Header, map[string][]byte) {
	f, err := safetensors.Open(name, nil)
	require.NoError(t, err)
	defer f.Close()
	data := make(map[string][]byte)
	for name, tensor := range f.All() {
		info := tensor.Info()
		data[name] = make([]byte, info.Bytes())
		require.NoError(t, tensor.ReadInto(background, data[name]))
	}
	return f.Header(), data
}

func TestReferenceWriter(t *testing.T) {
	files, err := filepath.Glob("testdata/reference/*.safetensors")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			want, err := os.ReadFile(name)
			require.NoError(t, err)
			f, err := safetensors.Open(name, nil)
			require.NoError(t, err)
			defer f.Close()
			var tensors []safetensors.TensorData
			for _, tensor := range f.All() {
				tensors = append(tensors, safetensors.TensorData{TensorInfo: tensor.Info(), Data: tensor.Open()})
			}
			slices.Reverse(tensors) // the writer has its own order
			out := filepath.Join(t.TempDir(), "out.safetensors")
			require.NoError(t, safetensors.WriteFile(t.Context(), out, tensors, f.Header().Metadata, nil))
			got, err := os.ReadFile(out)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got))

			require.NoError(t, safetensors.Rewrite(t.Context(), out, name, nil))
			got, err = os.ReadFile(out)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got))
		})
	}
}

func info(name string, d safetensors.DType, shape ...uint64) safetensors.TensorInfo {
	return safetensors.TensorInfo{Name: name, DType: d, Shape: shape}
}

func TestWriterRefuses(t *testing.T) {
	long := strings.Repeat("x", 60_000_000)
	for _, c := range []struct {
		name     string
		tensors  []safetensors.TensorInfo
		metadata map[string]string
		opts     *safetensors.WriterOptions
		want     string
	}{
		{"reserved name", []safetensors.TensorInfo{info("__metadata__", safetensors.F32)}, nil, nil, "reserved"},
		{"name twice", []safetensors.TensorInfo{info("a", safetensors.F32), info("a", safetensors.F16)}, nil, nil, "given twice"},
		{"name not UTF-8", []safetensors.TensorInfo{info("\xff", safetensors.F32)}, nil, nil, "not valid UTF-8"},
		{"metadata not UTF-8", nil, map[string]string{"a": "\xff"}, nil, "not valid UTF-8"},
		{"no dtype", []safetensors.TensorInfo{info("a", 0)}, nil, nil, "dtype is not set"},
		{"part of a byte", []safetensors.TensorInfo{info("a", safetensors.F4, 3)}, nil, nil, "inside a byte"},
		{"overflow", []safetensors.TensorInfo{info("a", safetensors.F32, 1<<32, 1<<32)}, nil, nil, "overflows"},
		{"overflow before zero", []safetensors.TensorInfo{info("a", safetensors.U8, 1<<63, 4, 0)}, nil, nil, "overflows"},
		{"too large together", []safetensors.TensorInfo{info("a", safetensors.U8, 1<<60), info("b", safetensors.U8, 1<<60), info("c", safetensors.U8, 1<<60),
			info("d", safetensors.U8, 1<<60), info("e", safetensors.U8, 1<<60), info("f", safetensors.U8, 1<<60), info("g", safetensors.U8, 1<<60), info("h", safetensors.U8, 1<<60)},
			nil, nil, "2^63"},
		{"header too long", nil, map[string]string{"a": long, "b": long}, nil, "readers accept 100000000"},
		{"alignment", nil, nil, &safetensors.WriterOptions{Align: 24}, "power of two"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := safetensors.NewWriter(filepath.Join(dir, "a.safetensors"), c.tensors, c.metadata, c.opts)
			require.ErrorContains(t, err, c.want)
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestEmptyFiles(t *testing.T) {
	for _, metadata := range []map[string]string{nil, {}, {"a": "b"}} {
		name := filepath.Join(t.TempDir(), "a")
		require.NoError(t, safetensors.WriteFile(t.Context(), name, nil, metadata, nil))
		h, data := readAll(t, name)
		require.Empty(t, data)
		require.Equal(t, metadata, h.Metadata)
	}
}

func TestWriterWantsExactlyTheData(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.safetensors")
	w, err := safetensors.NewWriter(name, []safetensors.TensorInfo{info("a", safetensors.F32, 4), info("b", safetensors.U8, 3)}, nil, nil)
	require.NoError(t, err)
	defer w.Abort()
	_, err = w.Tensor("c")
	require.ErrorContains(t, err, "no tensor c")
	a, err := w.Tensor("a")
	require.NoError(t, err)
	b, err := w.Tensor("b")
	require.NoError(t, err)
	require.EqualValues(t, 16, a.Size())

	require.ErrorContains(t, w.Commit(), "2 of 2 tensors are not complete, first: a with 0 of 16 bytes")
	_, err = b.Write([]byte("1234"))
	require.ErrorContains(t, err, "do not fit")
	_, err = b.WriteAt([]byte("1"), -1)
	require.ErrorContains(t, err, "do not fit")
	_, err = b.WriteAt([]byte("1"), math.MaxInt64)
	require.ErrorContains(t, err, "do not fit")
	_, err = b.Write([]byte("123"))
	require.NoError(t, err)

	// A hole in the middle, then overlapping writes over it.
	_, err = a.WriteAt([]byte("aaaa"), 0)
	require.NoError(t, err)
	_, err = a.WriteAt([]byte("cccccc"), 10)
	require.NoError(t, err)
	require.EqualValues(t, 10, a.Written())
	require.ErrorContains(t, w.Commit(), "1 of 2 tensors are not complete, first: a with 10 of 16 bytes")
	_, err = a.WriteAt([]byte("bbbbbbbb"), 3)
	require.NoError(t, err)
	require.NoError(t, w.Commit())
	require.NoError(t, w.Abort())
	_, data := readAll(t, name)
	require.Equal(t, "aaabbbbbbbbccccc", string(data["a"]))
	require.Equal(t, "123", string(data["b"]))
	_, err = a.Write([]byte("x"))
	require.Error(t, err, "after Commit")

	short := safetensors.TensorData{TensorInfo: info("a", safetensors.U8, 3), Data: strings.NewReader("12")}
	err = safetensors.WriteFile(t.Context(), name, []safetensors.TensorData{short}, nil, nil)
	require.ErrorContains(t, err, "ends after 2 of 3 bytes")
	short.Data = strings.NewReader("1234")
	err = safetensors.WriteFile(t.Context(), name, []safetensors.TensorData{short}, nil, nil)
	require.ErrorContains(t, err, "do not fit")
	_, data = readAll(t, name)
	require.Len(t, data, 2, "the old file stays")
}

// dtypes are all of them.
func dtypes() (all []safetensors.DType) {
	for d := safetensors.DType(1); d.String() != ""; d++ {
		all = append(all, d)
	}
	return all
}

// drawTensors draws tensors that can be written.
func drawTensors(t *rapid.T) ([]safetensors.TensorInfo, map[string][]byte) {
	names := rapid.SliceOfNDistinct(rapid.String().Filter(func(s string) bool { return s != "__metadata__" }), 0, 12, rapid.ID[string]).Draw(t, "names")
	data := make(map[string][]byte)
	var tensors []safetensors.TensorInfo
	for _, name := range names {
		d := rapid.SampledFrom(dtypes()).Draw(t, "dtype")
		shape := rapid.SliceOfN(rapid.Uint64Range(0, 5), 0, 4).Draw(t, "shape")
		if d.Bits() < 8 {
			shape = append(shape, 4)
		}
		n := uint64(d.Bits())
		for _, dim := range shape {
			n *= dim
		}
		tensors = append(tensors, info(name, d, shape...))
		data[name] = rapid.SliceOfN(rapid.Byte(), int(n/8), int(n/8)).Draw(t, "data")
	}
	return tensors, data
}

// writeAnyhow writes data in pieces, several goroutines at a time.
func writeAnyhow(t *rapid.T, tensor func(string) (*safetensors.TensorWriter, error), data map[string][]byte) error {
	var wg sync.WaitGroup
	errs := make([]error, len(data))
	i := 0
	for name, content := range data {
		w, err := tensor(name)
		require.NoError(t, err)
		how := rapid.IntRange(0, 2).Draw(t, "how")
		cut := rapid.IntRange(0, len(content)).Draw(t, "cut")
		out := &errs[i]
		i++
		wg.Go(func() {
			switch how {
			case 0:
				_, *out = w.Write(content[:cut])
				if *out == nil {
					_, *out = io.Copy(w, bytes.NewReader(content[cut:]))
				}
			case 1:
				_, err1 := w.WriteAt(content[cut:], int64(cut))
				_, err2 := w.WriteAt(content[:cut], 0)
				*out = errors.Join(err1, err2)
			default:
				_, *out = w.ReadFrom(io.MultiReader(bytes.NewReader(content[:cut]), bytes.NewReader(content[cut:])))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func TestRoundTripRandomFiles(t *testing.T) {
	dir := t.TempDir()
	rustref, python := os.Getenv("SAFECKPT_RUSTREF"), os.Getenv("SAFECKPT_PYTHON")
	var written []string
	rapid.Check(t, func(t *rapid.T) {
		tensors, data := drawTensors(t)
		metadata := rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(t, "metadata")
		if rapid.Bool().Draw(t, "no metadata") {
			metadata = nil
		}
		align := rapid.SampledFrom([]int{0, 8, 64, 4096}).Draw(t, "align")
		name := filepath.Join(dir, fmt.Sprintf("%d.safetensors", len(written)))
		w, err := safetensors.NewWriter(name, tensors, metadata, &safetensors.WriterOptions{Align: align})
		require.NoError(t, err)
		defer w.Abort()
		require.NoError(t, writeAnyhow(t, w.Tensor, data))
		require.NoError(t, w.Commit())

		h, got := readAll(t, name)
		require.Equal(t, data, got)
		require.Equal(t, metadata, h.Metadata)
		require.ElementsMatch(t, texts(w.Tensors()), texts(h.Tensors))
		require.Zero(t, h.DataStart()%int64(max(align, 8)))
		stat, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, w.Size(), stat.Size())
		if rustref != "" || python != "" {
			written = append(written, name)
		}
	})
	t.Run("rust", func(t *testing.T) { checkRust(t, rustref, written) })
	t.Run("python", func(t *testing.T) { checkPython(t, python, written) })
}

// texts formats tensors, so that a nil shape is an empty one.
func texts(tensors []safetensors.TensorInfo) (all []string) {
	for _, t := range tensors {
		all = append(all, fmt.Sprint(t))
	}
	return all
}

// checkRust has the reference read files and write them again. Without padding
// and with at most one metadata key, its bytes are ours.
func checkRust(t *testing.T, rustref string, files []string) {
	if rustref == "" {
		t.Skip("NOT COMPARED with the reference: set SAFECKPT_RUSTREF to the program built in bench/rustref")
	}
	again := filepath.Join(t.TempDir(), "again")
	for _, name := range files {
		want, wantData := readAll(t, name)
		if len(want.Tensors) == 0 && want.Metadata != nil && len(want.Metadata) == 0 {
			continue // the reference makes invalid JSON of it
		}
		out, err := exec.Command(rustref, "rewrite", name, again).CombinedOutput()
		require.NoError(t, err, string(out))
		h, data := readAll(t, again)
		require.Equal(t, wantData, data)
		require.Equal(t, texts(want.Tensors), texts(h.Tensors))
		require.Equal(t, want.Metadata, h.Metadata)
		if len(h.Metadata) > 1 {
			continue
		}
		plain := filepath.Join(t.TempDir(), "plain")
		require.NoError(t, safetensors.Rewrite(t.Context(), plain, name, nil))
		ours, err := os.ReadFile(plain)
		require.NoError(t, err)
		theirs, err := os.ReadFile(again)
		require.NoError(t, err)
		require.Equal(t, string(theirs), string(ours))
	}
}

// checkPython has the Python package read files.
func checkPython(t *testing.T, python string, files []string) {
	if python == "" {
		t.Skip("NOT COMPARED with the Python package: set SAFECKPT_PYTHON to an interpreter that has safetensors 0.8.0")
	}
	const script = `
import hashlib, json, sys, safetensors
for name in sys.argv[1:]:
    raw = open(name, "rb").read()
    print(json.dumps({k: [v["dtype"], v["shape"], hashlib.sha256(v["data"]).hexdigest()] for k, v in safetensors.deserialize(raw)}))
    with safetensors.safe_open(name, "np") as f:
        assert sorted(f.keys()) == sorted(k for k, _ in safetensors.deserialize(raw))
`
	for batch := range slices.Chunk(files, 50) {
		out, err := exec.Command(python, append([]string{"-c", script}, batch...)...).Output()
		require.NoError(t, err)
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		require.Len(t, lines, len(batch))
		for i, name := range batch {
			h, data := readAll(t, name)
			want := make(map[string][3]any)
			for _, tensor := range h.Tensors {
				shape := []any{}
				for _, d := range tensor.Shape {
					shape = append(shape, float64(d))
				}
				want[tensor.Name] = [3]any{tensor.DType.String(), shape, sha(data[tensor.Name])}
			}
			got := make(map[string][3]any)
			require.NoError(t, json.Unmarshal([]byte(lines[i]), &got))
			require.Equal(t, want, got)
		}
	}
}

var errKilled = errors.New("killed")

// killAfter returns a WriterOptions.Step that lets n operations happen.
func killAfter(n int) func(op, path string) error {
	var mu sync.Mutex
	return func(string, string) error {
		mu.Lock()
		defer mu.Unlock()
		if n--; n < 0 {
			return errKilled
		}
		return nil
	}
}

func TestKilledWriterLeavesOldOrNew(t *testing.T) {
	content := func(c string) []safetensors.TensorData {
		return []safetensors.TensorData{
			{TensorInfo: info("a", safetensors.U8, 5), Data: strings.NewReader(strings.Repeat(c, 5))},
			{TensorInfo: info("b", safetensors.U8, 5), Data: strings.NewReader(strings.Repeat(c, 5))},
		}
	}
	writes := map[string]func(name string, opts safetensors.WriterOptions) error{
		"WriteFile": func(name string, opts safetensors.WriterOptions) error {
			return safetensors.WriteFile(t.Context(), name, content("n"), map[string]string{"v": "new"}, &opts)
		},
		"Rewrite": func(name string, opts safetensors.WriterOptions) error {
			return safetensors.Rewrite(t.Context(), name, name, &safetensors.RewriteOptions{WriterOptions: opts,
				Metadata: func(map[string]string) map[string]string { return map[string]string{"v": "new"} }})
		},
	}
	for what, write := range writes {
		t.Run(what, func(t *testing.T) {
			for n := 0; ; n++ {
				name := filepath.Join(t.TempDir(), "model.safetensors")
				require.NoError(t, safetensors.WriteFile(t.Context(), name, content("o"), map[string]string{"v": "old"}, nil))
				err := write(name, safetensors.WriterOptions{Step: killAfter(n)})
				h, data := readAll(t, name)
				state := h.Metadata["v"]
				require.Contains(t, []string{"old", "new"}, state)
				if what == "WriteFile" {
					require.Equal(t, strings.Repeat(state[:1], 10), string(data["a"])+string(data["b"]))
				}
				left, readErr := os.ReadDir(filepath.Dir(name))
				require.NoError(t, readErr)
				for _, e := range left {
					require.True(t, e.Name() == filepath.Base(name) || atomicfile.IsTemp(e.Name()), e.Name())
				}
				if err == nil {
					require.Equal(t, "new", state)
					require.Len(t, left, 1)
					require.Greater(t, n, 5)
					break
				}
				require.ErrorIs(t, err, errKilled)
			}
		})
	}
}

func TestWriterManyGaps(t *testing.T) {
	const n = 20_000
	w, err := safetensors.NewWriter(filepath.Join(t.TempDir(), "a"), []safetensors.TensorInfo{info("a", safetensors.U8, 2*n)}, nil, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Abort()) }()
	a, err := w.Tensor("a")
	require.NoError(t, err)
	order := rand.New(rand.NewPCG(1, 2)).Perm(2 * n)
	for i, at := range order {
		_, err := a.WriteAt([]byte{1}, int64(at))
		require.NoError(t, err)
		if i%3 == 0 { // written again, it counts once
			_, err = a.WriteAt([]byte{1}, int64(at))
			require.NoError(t, err)
		}
		require.EqualValues(t, i+1, a.Written())
	}
	require.NoError(t, w.Commit())
}
