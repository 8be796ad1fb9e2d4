package peft

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

func TestLargeValues(t *testing.T) {
	name := filepath.Join(t.TempDir(), WeightsFile)
	var tensors []safetensors.TensorData
	for key, values := range map[string][]float64{
		"a.lora_B.weight": {1, -65505, 1e38, math.NaN(), math.Inf(1)},
		"b.lora_B.weight": {1, -65504},
	} {
		info := safetensors.TensorInfo{Name: modelPrefix + key, DType: safetensors.F32, Shape: []uint64{uint64(len(values))}}
		var data []byte
		for _, v := range values {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(v)))
		}
		tensors = append(tensors, safetensors.TensorData{TensorInfo: info, Data: bytes.NewReader(data)})
	}
	require.NoError(t, safetensors.WriteFile(t.Context(), name, tensors, nil, nil))
	f, err := safetensors.Open(name, nil)
	require.NoError(t, err)
	defer f.Close()
	for _, kind := range []string{"LORA", "XLORA"} {
		r, err := CheckValues(t.Context(), &Config{Type: kind}, f.All())
		require.NoError(t, err)
		require.Len(t, r.Problems(), 1)
		require.Equal(t, diag.AdapterLarge, r.Problems()[0].Code)
		require.Contains(t, r.Problems()[0].Message, "a.lora_B.weight: 2 of 5 elements are beyond float16, the largest is 1e+38")
	}
}
