package safetensors_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/safeckpt/safeckpt/safetensors"
)

// A dimIndex is an Index in both languages.
type dimIndex struct {
	index  safetensors.Index
	python string
	pick   []int // the elements that it takes, worked out the long way
	drops  bool
}

// drawIndex draws an index for a dimension.
func drawIndex(t *rapid.T, dim int) dimIndex {
	if dim > 0 && rapid.IntRange(0, 4).Draw(t, "kind") == 0 {
		i := rapid.IntRange(-dim, dim-1).Draw(t, "at")
		return dimIndex{safetensors.At(int64(i)), fmt.Sprint(i), []int{(i + dim) % dim}, true}
	}
	bound := func(label string) *int {
		if rapid.Bool().Draw(t, label+" given") {
			return nil
		}
		b := rapid.IntRange(-dim-2, dim+2).Draw(t, label)
		return &b
	}
	start, stop := bound("start"), bound("stop")
	step := rapid.SampledFrom([]int{1, 1, 1, 2, 3, -1, -2, 7}).Draw(t, "step")
	text := func(b *int) string {
		if b == nil {
			return ""
		}
		return fmt.Sprint(*b)
	}
	out := dimIndex{python: text(start) + ":" + text(stop) + ":" + fmt.Sprint(step)}

	first, last := int64(safetensors.Begin), int64(safetensors.End)
	if start != nil {
		first = int64(*start)
	}
	if stop != nil {
		last = int64(*stop)
	}
	if start == nil && stop == nil {
		out.index = safetensors.All().By(int64(step))
	} else {
		out.index = safetensors.Span(first, last).By(int64(step))
	}

	// From the first element that the bounds allow, step by step to the last.
	at := func(b *int, missing int) int {
		switch {
		case b == nil:
			return missing
		case *b < 0:
			return *b + dim
		}
		return *b
	}
	if step > 0 {
		for i := max(at(start, 0), 0); i < min(at(stop, dim), dim); i += step {
			out.pick = append(out.pick, i)
		}
	} else {
		for i := min(at(start, dim-1), dim-1); i > max(at(stop, -1), -1); i += step {
			out.pick = append(out.pick, i)
		}
	}
	return out
}

// pickElements returns the elements that the indexes take, in row-major order.
func pickElements(elements []float32, shape []int, at []dimIndex) []float32 {
	if len(shape) == 0 {
		return elements
	}
	rows := len(elements) / max(shape[0], 1)
	var out []float32
	for _, i := range at[0].pick {
		out = append(out, pickElements(elements[i*rows:(i+1)*rows], shape[1:], at[1:])...)
	}
	return out
}

// openMemory returns the tensor "t" of a file in memory.
func openMemory(t require.TestingT, d safetensors.DType, shape []uint64, data []byte) safetensors.Tensor {
	return openThrough(t, d, shape, data, func(r io.ReaderAt) io.ReaderAt { return r })
}

func openThrough(t require.TestingT, d safetensors.DType, shape []uint64, data []byte, wrap func(io.ReaderAt) io.ReaderAt) safetensors.Tensor {
	dir, err := os.MkdirTemp("", "safetensors")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "a")
	tensors := []safetensors.TensorData{{TensorInfo: info("t", d, shape...), Data: bytes.NewReader(data)}}
	require.NoError(t, safetensors.WriteFile(background, name, tensors, nil, nil))
	file, err := os.ReadFile(name)
	require.NoError(t, err)
	f, err := safetensors.NewFile(wrap(bytes.NewReader(file)), int64(len(file)), nil)
	require.NoError(t, err)
	tensor, err := f.Tensor("t")
	require.NoError(t, err)
	return tensor
}

func sizeOfSlice(s safetensors.Slice) uint64 {
	info := s.Info()
	return info.Bytes()
}

func TestSliceOpenBounds(t *testing.T) {
	data := []byte{0, 1, 2, 3, 4, 5, 6, 7}
	tensor := openMemory(t, safetensors.U8, []uint64{8}, data)
	const begin, end = safetensors.Begin, safetensors.End
	for _, tt := range []struct {
		name  string
		index safetensors.Index
		want  []byte
	}{ // as numpy 2 takes them
		{"[:2:-1]", safetensors.Span(begin, 2).By(-1), []byte{7, 6, 5, 4, 3}},
		{"[2::-1]", safetensors.Span(2, end).By(-1), []byte{2, 1, 0}},
		{"[::-3]", safetensors.Span(begin, end).By(-3), []byte{7, 4, 1}},
		{"[::-1]", safetensors.All().By(-1), []byte{7, 6, 5, 4, 3, 2, 1, 0}},
		{"[6:]", safetensors.Span(6, end), []byte{6, 7}},
		{"[:2]", safetensors.Span(begin, 2), []byte{0, 1}},
		{"[:-6:-2]", safetensors.Span(begin, -6).By(-2), []byte{7, 5, 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := tensor.Slice(tt.index)
			require.NoError(t, err)
			got := make([]byte, sizeOfSlice(s))
			require.NoError(t, s.ReadInto(background, got))
			require.Equal(t, tt.want, got)
		})
	}
}

func TestSliceRandom(t *testing.T) {
	type numpyCase struct {
		Shape []int  `json:"shape"`
		Index string `json:"index"`
		want  []float32
		dims  []uint64
	}
	var cases []numpyCase
	python := os.Getenv("SAFECKPT_PYTHON")
	rapid.Check(t, func(t *rapid.T) {
		shape := rapid.SliceOfN(rapid.IntRange(0, 7), 0, 4).Draw(t, "shape")
		n, dims := 1, []uint64{}
		for _, d := range shape {
			n *= d
			dims = append(dims, uint64(d))
		}
		d := rapid.SampledFrom([]safetensors.DType{safetensors.F32, safetensors.BF16, safetensors.F64}).Draw(t, "dtype")
		elements := make([]float32, n)
		for i := range elements {
			elements[i] = float32(i % 256)
		}
		data, err := safetensors.EncodeFloat32(nil, d, elements)
		require.NoError(t, err)
		given := rapid.IntRange(0, len(shape)).Draw(t, "indexes")
		var at []dimIndex
		var indexes []safetensors.Index
		var text []string
		var wantShape []uint64
		for i, dim := range shape {
			x := dimIndex{}
			if i < given {
				x = drawIndex(t, dim)
				indexes = append(indexes, x.index)
				text = append(text, x.python)
			} else {
				for k := range dim {
					x.pick = append(x.pick, k)
				}
			}
			at = append(at, x)
			if !x.drops {
				wantShape = append(wantShape, uint64(len(x.pick)))
			}
		}
		tensor := openMemory(t, d, dims, data)
		s, err := tensor.Slice(indexes...)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(wantShape), fmt.Sprint(s.Info().Shape))
		want := pickElements(elements, shape, at)
		got, err := safetensors.AppendFloat32(nil, s)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(want), fmt.Sprint(got))
		raw := make([]byte, sizeOfSlice(s))
		require.NoError(t, s.ReadInto(background, raw))
		again, err := safetensors.EncodeFloat32([]byte{}, d, want)
		require.NoError(t, err)
		require.Equal(t, again, raw)
		if python != "" {
			cases = append(cases, numpyCase{shape, strings.Join(text, ","), want, wantShape})
		}
	})
	t.Run("numpy", func(t *testing.T) {
		if python == "" {
			t.Skip("NOT COMPARED with numpy: set SAFECKPT_PYTHON to an interpreter that has it")
		}
		const script = `
import json, sys, numpy as np
for c in json.load(sys.stdin):
    a = (np.arange(np.prod(c["shape"], dtype=int)) % 256).reshape(c["shape"])
    a = np.asarray(eval("a[" + c["index"] + "]") if c["index"] else a)
    print(json.dumps([list(a.shape), a.ravel().tolist()]))
`
		input, err := json.Marshal(cases)
		require.NoError(t, err)
		cmd := exec.Command(python, "-c", script)
		cmd.Stdin, cmd.Stderr = bytes.NewReader(input), os.Stderr
		out, err := cmd.Output()
		require.NoError(t, err)
		dec := json.NewDecoder(bytes.NewReader(out))
		for _, c := range cases {
			var row [2][]float32
			require.NoError(t, dec.Decode(&row))
			require.Equal(t, fmt.Sprint(row[0]), fmt.Sprint(c.dims), "%v[%s]", c.Shape, c.Index)
			require.Equal(t, fmt.Sprint(row[1]), fmt.Sprint(c.want), "%v[%s]", c.Shape, c.Index)
		}
	})
}

func TestSliceErrors(t *testing.T) {
	tensor := openMemory(t, safetensors.U8, []uint64{3, 4}, make([]byte, 12))
	for _, c := range []struct {
		at   []safetensors.Index
		want string
	}{
		{[]safetensors.Index{safetensors.At(3)}, "index 3 is outside of its 3 elements"},
		{[]safetensors.Index{safetensors.All(), safetensors.At(-5)}, "dimension 1: index -5"},
		{[]safetensors.Index{safetensors.Span(0, 1).By(0)}, "a step of 0"},
		{[]safetensors.Index{safetensors.All(), safetensors.All(), safetensors.All()}, "3 indexes for 2 dimensions"},
	} {
		_, err := tensor.Slice(c.at...)
		require.ErrorContains(t, err, c.want)
	}
	s, err := tensor.Slice(safetensors.Span(math.MinInt64+1, math.MaxInt64-1).By(math.MaxInt64))
	require.NoError(t, err)
	require.Equal(t, []uint64{1, 4}, s.Info().Shape)
	require.ErrorContains(t, s.ReadInto(background, nil), "takes 4 bytes, dst has 0")
	huge := openMemory(t, safetensors.U8, []uint64{0, 1 << 63}, nil)
	_, err = huge.Slice()
	require.ErrorContains(t, err, "exceeds 2^63-1")
}

func TestSliceSubByte(t *testing.T) {
	// Rows of 6 nibbles are 3 bytes; of 3 F6, 18 bits.
	nibbles, err := safetensors.EncodeFloat32(nil, safetensors.F4, []float32{0, .5, 1, 1.5, 2, 3, 4, 6, 4, 3, 2, 1})
	require.NoError(t, err)
	f4 := openMemory(t, safetensors.F4, []uint64{2, 6}, nibbles)
	for _, c := range []struct {
		at   []safetensors.Index
		want []float32 // nil: ErrSubByte
	}{
		{[]safetensors.Index{safetensors.At(1)}, []float32{4, 6, 4, 3, 2, 1}},
		{[]safetensors.Index{safetensors.All().By(-1), safetensors.Span(2, 4)}, []float32{4, 3, 1, 1.5}},
		{[]safetensors.Index{safetensors.All(), safetensors.Span(4, safetensors.End)}, []float32{2, 3, 2, 1}},
		{[]safetensors.Index{safetensors.All(), safetensors.Span(1, 3)}, nil},
		{[]safetensors.Index{safetensors.All(), safetensors.Span(0, 3)}, nil},
		{[]safetensors.Index{safetensors.All(), safetensors.All().By(2)}, nil},
		{[]safetensors.Index{safetensors.At(0), safetensors.At(0)}, nil},
		{[]safetensors.Index{safetensors.At(0), safetensors.Span(3, 3)}, []float32{}},
	} {
		s, err := f4.Slice(c.at...)
		if c.want == nil {
			require.ErrorIs(t, err, safetensors.ErrSubByte)
			continue
		}
		require.NoError(t, err)
		got, err := safetensors.AppendFloat32([]float32{}, s)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	f6 := openMemory(t, safetensors.F6_E2M3, []uint64{4, 3}, make([]byte, 9))
	_, err = f6.Slice(safetensors.At(1))
	require.ErrorIs(t, err, safetensors.ErrSubByte, "its rows straddle bytes")
	_, err = f6.Slice(safetensors.All())
	require.NoError(t, err)
}

func TestSliceContiguous(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	data := make([]byte, 24)
	for i := range data {
		data[i] = byte(i)
	}
	tensors := []safetensors.TensorData{{TensorInfo: info("t", safetensors.U8, 2, 3, 4), Data: bytes.NewReader(data)}}
	require.NoError(t, safetensors.WriteFile(background, name, tensors, nil, nil))
	f, err := safetensors.Open(name, nil)
	require.NoError(t, err)
	defer f.Close()
	tensor, err := f.Tensor("t")
	require.NoError(t, err)
	for _, c := range []struct {
		at   []safetensors.Index
		want []byte // nil: not contiguous
	}{
		{nil, data},
		{[]safetensors.Index{safetensors.At(1)}, data[12:]},
		{[]safetensors.Index{safetensors.At(1), safetensors.Span(1, 3)}, data[16:24]},
		{[]safetensors.Index{safetensors.At(-1), safetensors.At(0), safetensors.Span(1, 3)}, data[13:15]},
		{[]safetensors.Index{safetensors.Span(0, 1), safetensors.Span(2, 3).By(-1).By(5)}, data[8:12]},
		{[]safetensors.Index{safetensors.Span(1, 1)}, []byte{}},
		{[]safetensors.Index{safetensors.All(), safetensors.At(0)}, nil},
		{[]safetensors.Index{safetensors.All().By(-1)}, nil},
	} {
		s, err := tensor.Slice(c.at...)
		require.NoError(t, err)
		require.Equal(t, c.want != nil, s.Contiguous())
		got, err := s.Bytes()
		if c.want == nil {
			require.ErrorIs(t, err, safetensors.ErrNotContiguous)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.want, got)
		require.Equal(t, len(got), cap(got))
	}
}

func TestSliceReadsAreFew(t *testing.T) {
	const rows, columns = 1000, 500
	data := make([]byte, 4*rows*columns)
	var counter *countingReader
	tensor := openThrough(t, safetensors.F32, []uint64{rows, columns}, data, func(r io.ReaderAt) io.ReaderAt {
		counter = &countingReader{r: r}
		return counter
	})
	for _, c := range []struct {
		name       string
		at         []safetensors.Index
		reads, mib float64
	}{
		{"whole", nil, 1, 2},
		{"rows", []safetensors.Index{safetensors.Span(100, 900)}, 1, 1.6},
		{"a column", []safetensors.Index{safetensors.All(), safetensors.At(7)}, 9, 2},
		{"a column backwards", []safetensors.Index{safetensors.All().By(-1), safetensors.At(7)}, 9, 2},
		{"every tenth row", []safetensors.Index{safetensors.All().By(10)}, 100, 0.2},
		{"every second element", []safetensors.Index{safetensors.All(), safetensors.All().By(2)}, 9, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := tensor.Slice(c.at...)
			require.NoError(t, err)
			dst := make([]byte, sizeOfSlice(s))
			counter.reads, counter.bytes = 0, 0
			require.NoError(t, s.ReadInto(background, dst))
			require.LessOrEqual(t, float64(counter.reads), c.reads)
			require.LessOrEqual(t, float64(counter.bytes), 1.01*c.mib*1e6)
		})
	}
}
