package safetensors_test

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"github.com/safeckpt/safeckpt/safetensors"
)

func TestAppendElements(t *testing.T) {
	data := make([]byte, 16)
	for i := range data {
		data[i] = byte(0xf1 + 3*i)
	}
	u16 := binary.LittleEndian.Uint16
	for _, d := range dtypes() {
		if d.Bits() < 8 {
			continue
		}
		tensor := openMemory(t, d, []uint64{uint64(len(data) * 8 / d.Bits())}, data)
		switch d {
		case safetensors.BOOL, safetensors.U8:
			requireElements(t, tensor, data)
		case safetensors.I8:
			requireElements(t, tensor, []int8{int8(-15), int8(-12)}, 2)
		case safetensors.U16:
			requireElements(t, tensor, []uint16{u16(data), u16(data[2:])}, 2)
		case safetensors.I16:
			requireElements(t, tensor, []int16{int16(u16(data))}, 1)
		case safetensors.F16:
			requireElements(t, tensor, []float16.Float16{float16.Float16(u16(data))}, 1)
		case safetensors.BF16:
			requireElements(t, tensor, []safetensors.BFloat16{safetensors.BFloat16(u16(data))}, 1)
		case safetensors.U32:
			requireElements(t, tensor, []uint32{binary.LittleEndian.Uint32(data)}, 1)
		case safetensors.I32:
			requireElements(t, tensor, []int32{int32(binary.LittleEndian.Uint32(data))}, 1)
		case safetensors.F32:
			requireElements(t, tensor, []float32{math.Float32frombits(binary.LittleEndian.Uint32(data))}, 1)
		case safetensors.U64:
			requireElements(t, tensor, []uint64{binary.LittleEndian.Uint64(data), binary.LittleEndian.Uint64(data[8:])})
		case safetensors.I64:
			requireElements(t, tensor, []int64{int64(binary.LittleEndian.Uint64(data))}, 1)
		case safetensors.F64:
			requireElements(t, tensor, []float64{math.Float64frombits(binary.LittleEndian.Uint64(data))}, 1)
		case safetensors.C64:
			requireElements(t, tensor, []complex64{complex(math.Float32frombits(binary.LittleEndian.Uint32(data)), math.Float32frombits(binary.LittleEndian.Uint32(data[4:])))}, 1)
		default: // the other 8-bit floats have no Go type
			_, err := safetensors.AppendElements([]uint8(nil), tensor)
			require.ErrorIs(t, err, safetensors.ErrDType)
		}
	}
	_, err := safetensors.AppendElements([]int32(nil), openMemory(t, safetensors.I64, nil, make([]byte, 8)))
	require.ErrorIs(t, err, safetensors.ErrDType)
	require.ErrorContains(t, err, "t is I64 and cannot be read as int32")
}

// requireElements requires that t begins with want, or is want without a count,
// and that writing what was read gives the same bytes.
func requireElements[T safetensors.Element](t *testing.T, tensor safetensors.Tensor, want []T, first ...int) {
	t.Helper()
	got, err := safetensors.AppendElements([]T{}, tensor)
	require.NoError(t, err)
	data := safetensors.NewTensorData("t", tensor.Info().Shape, got)
	written, err := io.ReadAll(data.Data)
	require.NoError(t, err)
	raw, err := io.ReadAll(tensor.Open())
	require.NoError(t, err)
	require.Equal(t, raw, written)
	if len(first) > 0 {
		got = got[:first[0]]
	}
	require.Equal(t, want, got)
	again, err := safetensors.AppendElements(slices.Clip(want), tensor)
	require.NoError(t, err)
	require.Equal(t, want, again[:len(want)], "what was there stays")
}

// TestLongTensors reads several blocks: they are decoded in the memory that they
// are read into.
func TestLongTensors(t *testing.T) {
	const n = 3*16<<10 + 40
	order := rand.New(rand.NewPCG(3, 4))
	for _, d := range dtypes() {
		if !d.IsFloat() {
			continue
		}
		data := make([]byte, n*d.Bits()/8)
		for i := range data {
			data[i] = byte(order.Uint32())
		}
		want, err := safetensors.DecodeFloat32(nil, d, data)
		require.NoError(t, err)
		tensor := openMemory(t, d, []uint64{n}, data)
		got, err := safetensors.AppendFloat32([]float32{1}, tensor)
		require.NoError(t, err)
		requireSameFloats(t, want, got[1:], d)
		got = got[:0]
		for block, err := range safetensors.Float32s(tensor) {
			require.NoError(t, err)
			got = append(got, block...)
		}
		requireSameFloats(t, want, got, d)
		wide, err := safetensors.AppendFloat64(nil, tensor)
		require.NoError(t, err)
		got = got[:0]
		for _, f := range wide {
			got = append(got, float32(f))
		}
		requireSameFloats(t, want, got, d)
	}
}

// requireSameFloats takes all NaNs for the same.
func requireSameFloats(t *testing.T, want, got []float32, d safetensors.DType) {
	t.Helper()
	require.Len(t, got, len(want), d)
	for i, f := range want {
		if got[i] != f && (f == f || got[i] == got[i]) {
			require.Equal(t, f, got[i], "%s, element %d", d, i)
		}
	}
}

func TestFloatsWantAFloatType(t *testing.T) {
	for _, d := range dtypes() {
		tensor := openMemory(t, d, []uint64{4}, make([]byte, 4*d.Bits()/8))
		got, err := safetensors.AppendFloat32([]float32{7}, tensor)
		if d.IsFloat() {
			require.NoError(t, err)
			require.Equal(t, float32(7), got[0])
			require.Len(t, got[1:], map[bool]int{false: 4, true: 8}[d == safetensors.C64])
			continue
		}
		require.ErrorIs(t, err, safetensors.ErrDType, d)
		require.Equal(t, []float32{7}, got)
		for block, err := range safetensors.Float64s(tensor) {
			require.ErrorIs(t, err, safetensors.ErrDType)
			require.Nil(t, block)
		}
	}
}

func TestBlocksAreBounded(t *testing.T) {
	const n = 100_000
	for _, d := range []safetensors.DType{safetensors.BF16, safetensors.F64, safetensors.F6_E3M2, safetensors.F4, safetensors.C64} {
		values := make([]float32, n)
		for i := range values {
			values[i] = float32(i % 4)
		}
		data, err := safetensors.EncodeFloat32(nil, d, values)
		require.NoError(t, err)
		tensor := openMemory(t, d, []uint64{uint64(len(data) * 8 / d.Bits())}, data)
		var got []float32
		blocks := 0
		for block, err := range safetensors.Float32s(tensor) {
			require.NoError(t, err)
			got = append(got, block...)
			blocks++
		}
		require.Equal(t, values, got)
		require.Greater(t, blocks, 1)
		var wide []float64
		for block, err := range safetensors.Float64s(tensor) {
			require.NoError(t, err)
			wide = append(wide, block...)
		}
		require.Len(t, wide, n)
		require.EqualValues(t, 3, wide[n-1])
		for range safetensors.Float32s(tensor) {
			break // stops the reads
		}
		all, err := safetensors.AppendFloat64(nil, tensor)
		require.NoError(t, err)
		require.Equal(t, wide, all)
	}
}

// A failingReader fails behind a number of bytes.
type failingReader struct {
	io.ReaderAt
	after int64
}

var errDisk = errors.New("disk")

func (f *failingReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.after {
		return 0, errDisk
	}
	return f.ReaderAt.ReadAt(p, off)
}

func TestReadErrorsComeThrough(t *testing.T) {
	reader := &failingReader{after: math.MaxInt64}
	tensor := openThrough(t, safetensors.F32, []uint64{300, 300}, make([]byte, 4*300*300), func(r io.ReaderAt) io.ReaderAt {
		reader.ReaderAt = r
		return reader
	})
	reader.after = 200_000
	got, err := safetensors.AppendFloat32([]float32{1}, tensor)
	require.ErrorIs(t, err, errDisk)
	require.Equal(t, []float32{1}, got)
	_, err = safetensors.AppendElements([]float32(nil), tensor)
	require.ErrorIs(t, err, errDisk)
	last := error(nil)
	for _, err := range safetensors.Float32s(tensor) {
		require.NoError(t, last, "nothing comes after an error")
		last = err
	}
	require.ErrorIs(t, last, errDisk)
	for _, at := range [][]safetensors.Index{{safetensors.Span(200, 300)}, {safetensors.All(), safetensors.At(1)}} {
		s, err := tensor.Slice(at...)
		require.NoError(t, err)
		_, err = safetensors.AppendFloat32(nil, s)
		require.ErrorIs(t, err, errDisk)
	}
}
