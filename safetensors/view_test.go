package safetensors_test

import (
	"encoding/binary"
	"math"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

func TestView(t *testing.T) {
	names := []string{"U64", "I64", "F64", "C64", "F32", "I32", "U32", "BF16", "F16", "U16", "I16", "I8", "U8", "BOOL"}
	header, at := "{", 0
	for i, name := range names {
		d, ok := safetensors.ParseDType(name)
		require.True(t, ok)
		end := at + 2*d.Bits()/8
		header += `"` + name + `":{"dtype":"` + name + `","shape":[2],"data_offsets":[` + itoa(at) + "," + itoa(end) + "]}"
		if at = end; i < len(names)-1 {
			header += ","
		}
	}
	header += `,"empty":{"dtype":"F32","shape":[0],"data_offsets":[` + itoa(at) + "," + itoa(at) + "]}}"
	data := count(at)
	f := open(t, writeTemp(t, raw(header, data)), nil)
	le := binary.LittleEndian
	offset := func(name string) int { info, _ := f.Header().Lookup(name); return int(info.Begin) }
	at32, at16 := offset("F32"), offset("BF16")

	viewEqual(t, f, "U64", []uint64{le.Uint64(data), le.Uint64(data[8:])})
	viewEqual(t, f, "I64", []int64{int64(le.Uint64(data[16:])), int64(le.Uint64(data[24:]))})
	viewEqual(t, f, "F64", []float64{math.Float64frombits(le.Uint64(data[32:])), math.Float64frombits(le.Uint64(data[40:]))})
	viewEqual(t, f, "F32", []float32{math.Float32frombits(le.Uint32(data[at32:])), math.Float32frombits(le.Uint32(data[at32+4:]))})
	viewEqual(t, f, "BF16", []safetensors.BFloat16{safetensors.BFloat16(le.Uint16(data[at16:])), safetensors.BFloat16(le.Uint16(data[at16+2:]))})
	viewEqual(t, f, "F16", []float16.Float16{float16.Float16(le.Uint16(data[at16+4:])), float16.Float16(le.Uint16(data[at16+6:]))})
	viewLen[complex64](t, f, "C64")
	viewLen[int32](t, f, "I32")
	viewLen[uint32](t, f, "U32")
	viewLen[uint16](t, f, "U16")
	viewLen[int16](t, f, "I16")
	viewLen[int8](t, f, "I8")
	viewLen[uint8](t, f, "U8")
	viewLen[uint8](t, f, "BOOL")
	viewEqual(t, f, "empty", []float32{})

	tensor, err := f.Tensor("F32")
	require.NoError(t, err)
	_, err = safetensors.View[float64](tensor)
	require.ErrorIs(t, err, safetensors.ErrDType)
	require.ErrorContains(t, err, "F32 is F32 and cannot be viewed as float64")
	_, err = safetensors.View[uint8](tensor)
	require.ErrorIs(t, err, safetensors.ErrDType)
}

func viewEqual[T safetensors.Element](t *testing.T, f *safetensors.File, name string, want []T) {
	t.Helper()
	if got, ok := view[T](t, f, name); ok {
		require.Equal(t, want, got)
		require.Equal(t, len(got), cap(got))
	}
}

func viewLen[T safetensors.Element](t *testing.T, f *safetensors.File, name string) {
	t.Helper()
	if got, ok := view[T](t, f, name); ok {
		require.Len(t, got, 2)
	}
}

// view returns the view, or false where the machine's byte order forbids it.
func view[T safetensors.Element](t *testing.T, f *safetensors.File, name string) ([]T, bool) {
	t.Helper()
	tensor, err := f.Tensor(name)
	require.NoError(t, err)
	got, err := safetensors.View[T](tensor)
	if bigEndian && unsafe.Sizeof(*new(T)) > 1 {
		require.ErrorIs(t, err, safetensors.ErrByteOrder)
		return nil, false
	}
	require.NoError(t, err)
	return got, true
}

var bigEndian = binary.NativeEndian.Uint16([]byte{0, 1}) == 1

func TestViewMisaligned(t *testing.T) {
	header := `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}`
	f := open(t, writeTemp(t, raw(header, count(5))), nil)
	require.True(t, f.Report().Has(diag.TensorUnaligned))
	tensor, err := f.Tensor("b")
	require.NoError(t, err)
	_, err = safetensors.View[float32](tensor)
	want := safetensors.ErrMisaligned
	if bigEndian {
		want = safetensors.ErrByteOrder
	}
	require.ErrorIs(t, err, want)
}
