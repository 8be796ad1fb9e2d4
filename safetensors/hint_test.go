package safetensors_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

func TestHints(t *testing.T) {
	for _, c := range []struct {
		name    string
		tensors []safetensors.TensorInfo
		want    []string // code and message
	}{
		{"none", []safetensors.TensorInfo{info("a", safetensors.F32, 2), info("b/kernel", safetensors.I64), info("c..d", safetensors.C64)}, nil},
		{"dtypes", []safetensors.TensorInfo{info("a", safetensors.F6_E2M3, 4), info("b", safetensors.F6_E2M3, 4), info("c", safetensors.BF16, 1), info("d", safetensors.F4, 2), info("e", safetensors.F8_E8M0, 1)},
			[]string{
				"N002 numpy cannot load F4, the dtype of 1 of 5 tensors, first: d",
				"N001 neither torch nor numpy can load F6_E2M3, the dtype of 2 of 5 tensors, first: a",
				"N002 numpy cannot load F8_E8M0, the dtype of 1 of 5 tensors, first: e",
				"N002 numpy cannot load BF16, the dtype of 1 of 5 tensors, first: c",
			}},
		{"paths", []safetensors.TensorInfo{info("/etc/passwd", safetensors.U8, 0), info("a/../b", safetensors.U8, 0), info(`C:\x`, safetensors.U8, 0)},
			[]string{"N003 3 of 3 tensor names lead out of a directory that tensors are unpacked to, first: /etc/passwd"}},
		{"case", []safetensors.TensorInfo{info("Wte", safetensors.U8, 0), info("wTE", safetensors.U8, 0), info("\u212a", safetensors.U8, 0), info("k", safetensors.U8, 0)},
			[]string{"N004 2 of 4 tensor names differ from another only in case, first: Wte and wTE"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := safetensors.NewWriter(filepath.Join(t.TempDir(), "a"), c.tensors, nil, nil)
			require.NoError(t, err)
			defer w.Abort()
			h := &safetensors.Header{Tensors: w.Tensors()}
			var got []string
			for _, p := range safetensors.Hints(h) {
				require.Equal(t, diag.Note, p.Severity)
				got = append(got, string(p.Code)+" "+p.Message)
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestViewable(t *testing.T) {
	h := &safetensors.Header{Length: 8, Tensors: []safetensors.TensorInfo{
		{Name: "a", DType: safetensors.U8, Shape: []uint64{3}, End: 3},
		{Name: "b", DType: safetensors.F32, Shape: []uint64{1}, Begin: 3, End: 7},
		{Name: "c", DType: safetensors.F32, Shape: []uint64{1}, Begin: 8, End: 12},
		{Name: "d", DType: safetensors.F64, Shape: []uint64{0}, Begin: 11, End: 11},
	}}
	for i, want := range []bool{true, false, true, true} {
		require.Equal(t, want, h.Viewable(&h.Tensors[i]), h.Tensors[i].Name)
	}
}
