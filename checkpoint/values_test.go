package checkpoint

import (
	"bytes"
	"encoding/binary"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
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

// TestZeros wants a matrix of zeros told, and not a vector, nor one with a value
// in its last byte, which lies beyond the first block.
func TestZeros(t *testing.T) {
	last := make([]byte, valueBlock+4)
	last[len(last)-1] = 0x40
	matrix := func(name string, data []byte) safetensors.TensorData {
		info := safetensors.TensorInfo{Name: name, DType: safetensors.F32, Shape: []uint64{uint64(len(data) / 4), 1}}
		return safetensors.TensorData{TensorInfo: info, Data: bytes.NewReader(data)}
	}
	vector := matrix("vector", make([]byte, 8))
	vector.Shape = vector.Shape[:1]
	name := filepath.Join(t.TempDir(), "model.safetensors")
	tensors := []safetensors.TensorData{matrix("last", last), matrix("zeros", make([]byte, 8)), vector}
	require.NoError(t, safetensors.WriteFile(t.Context(), name, tensors, nil, nil))
	results, err := ValidateAll(t.Context(), name, &ValidateOptions{Values: true})
	require.NoError(t, err)
	var zeros []string
	for _, p := range results[0].Report.Problems() {
		if p.Code == diag.ValueZero {
			zeros = append(zeros, p.Tensor)
		}
	}
	require.Equal(t, []string{"zeros"}, zeros)
}
