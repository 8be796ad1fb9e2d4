package checkpoint

import (
	"bytes"
	"encoding/binary"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/safetensors"
)

// TestCountersAgreeWithDecoding holds every bit pattern of the 8- and 16-bit
// types against what the values decode to.
func TestCountersAgreeWithDecoding(t *testing.T) {
	for dtype, count := range counters {
		size := dtype.Bits() / 8
		if size > 2 {
			continue
		}
		var all []byte
		for bits := range 1 << (8 * size) {
			all = append(all, binary.LittleEndian.AppendUint16(nil, uint16(bits))[:size]...)
		}
		for i, f := range decode(t, dtype, all) {
			got := count(all[i*size : (i+1)*size])
			require.Equal(t, math.IsNaN(f), got.nan == 1, "%s %#x", dtype, i)
			require.Equal(t, math.IsInf(f, 0), got.inf == 1, "%s %#x", dtype, i)
		}
	}
}

func decode(t *testing.T, dtype safetensors.DType, data []byte) []float64 {
	name := filepath.Join(t.TempDir(), "all.safetensors")
	info := safetensors.TensorInfo{Name: "all", DType: dtype, Shape: []uint64{uint64(len(data) * 8 / dtype.Bits())}}
	require.NoError(t, safetensors.WriteFile(t.Context(), name, []safetensors.TensorData{{TensorInfo: info, Data: bytes.NewReader(data)}}, nil, nil))
	f, err := safetensors.Open(name, nil)
	require.NoError(t, err)
	defer f.Close()
	tensor, err := f.Tensor("all")
	require.NoError(t, err)
	values, err := safetensors.AppendFloat64(nil, tensor)
	require.NoError(t, err)
	return values
}

func TestCountersOfWideTypes(t *testing.T) {
	f32 := binary.LittleEndian.AppendUint32(nil, math.Float32bits(1))
	f32 = binary.LittleEndian.AppendUint32(f32, math.Float32bits(float32(math.Inf(-1))))
	f32 = binary.LittleEndian.AppendUint32(f32, math.Float32bits(float32(math.NaN())))
	require.Equal(t, found{nan: 1, inf: 1, firstInf: 4, firstNaN: 8}, counters[safetensors.F32](f32))
	f64 := binary.LittleEndian.AppendUint64(nil, math.Float64bits(math.MaxFloat64))
	f64 = binary.LittleEndian.AppendUint64(f64, math.Float64bits(math.NaN())|1<<63)
	require.Equal(t, found{nan: 1, firstNaN: 8}, counters[safetensors.F64](f64))
}

func TestFoundAddsBlocks(t *testing.T) {
	var sum found
	sum.add(found{}, 0)
	sum.add(found{nan: 2, firstNaN: 6}, 100)
	sum.add(found{nan: 1, firstNaN: 0, inf: 1, firstInf: 2}, 200)
	require.Equal(t, found{nan: 3, firstNaN: 106, inf: 1, firstInf: 202}, sum)
}
