package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// FuzzHeader gives arbitrary files. What is accepted must cover its file exactly,
// what is refused must say why, with places inside of the file.
func FuzzHeader(f *testing.F) {
	_, _, files := loadConformance(f)
	for i, name := range slices.Sorted(maps.Keys(files)) {
		if i%4 == 0 && len(files[name]) < 1000 {
			f.Add(files[name])
		}
	}
	f.Add(raw(twoTensors, count(12)))
	f.Fuzz(func(t *testing.T, data []byte) {
		judgeBytes(t, data)
		// Most mutants die of a wrong length. Give the header one that fits, too.
		if len(data) > 8 {
			if end := bytes.LastIndexByte(data, '}'); end > 8 {
				fitting := binary.LittleEndian.AppendUint64(nil, uint64(end+1-8))
				judgeBytes(t, append(fitting, data[8:]...))
			}
		}
	})
}

func judgeBytes(t *testing.T, data []byte) {
	before := bytes.Clone(data)
	f, err := safetensors.NewFile(bytes.NewReader(data), int64(len(data)), nil)
	require.Equal(t, before, data, "the source is not written to")
	reportCodes(t, f, err)
	if err != nil {
		var refused *safetensors.FormatError
		require.True(t, errors.As(err, &refused), "%v", err)
		for _, p := range refused.Report.Problems() {
			if p.Offset != nil && p.Code != diag.HeaderOverlap && p.Code != diag.HeaderHole && p.Code != diag.TensorUnaligned {
				require.True(t, 0 <= *p.Offset && *p.Offset <= int64(len(data)), "%s: byte %d of %d", p.Message, *p.Offset, len(data))
			}
		}
		require.NotEmpty(t, err.Error())
		return
	}
	defer f.Close()
	checkInvariants(t, f)
	for _, tensor := range f.All() {
		dst := make([]byte, tensor.Info().Bytes())
		require.NoError(t, tensor.ReadInto(t.Context(), dst))
	}
}

// FuzzIndex gives arbitrary indexes beside a shard. Whatever it says, the model
// opens, names no file outside of the directory, and its tensors can be read.
func FuzzIndex(f *testing.F) {
	f.Add(indexOf(f, 4, map[string]string{"a": shard1, "b": shard2}))
	f.Add([]byte(`{"metadata":null,"weight_map":{"a":"../x","b":7,"c":"model-00001-of-00002.safetensors"}}`))
	f.Add([]byte(`{"metadata":{"total_size":1e999},"weight_map":{"a":"model-00001-of-00002.safetensors","a":"x"}}`))
	f.Add([]byte(`{"metadata":{"total_size":NaN},"weight_map":{"":""}}`))
	f.Add([]byte(`version https://git-lfs.github.com/spec/v1`))
	one, two := shard("a", "c"), shard("b", "c")
	f.Fuzz(func(t *testing.T, index []byte) {
		fsys := fstest.MapFS{indexName: {Data: index}, shard1: {Data: one}, shard2: {Data: two}}
		m, err := safetensors.OpenModel(fsys, nil)
		require.NoError(t, err)
		defer m.Close()
		for _, s := range m.Files() {
			require.True(t, s.File != nil || s.Err != nil)
			if s.File != nil {
				require.Contains(t, []string{shard1, shard2}, s.Name)
			}
		}
		for _, tensor := range m.All() {
			require.NoError(t, tensor.ReadInto(t.Context(), make([]byte, 4)))
		}
		require.NotEmpty(t, m.Report().Problems(), "c is in both shards")
		text(t, m.Report())
	})
}
