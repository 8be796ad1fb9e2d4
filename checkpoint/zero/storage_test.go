package zero_test

import (
	"archive/zip"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint/zero"
	"github.com/safeckpt/safeckpt/internal/torchzip"
	"github.com/safeckpt/safeckpt/safetensors"
)

// bigEndian returns a torch file as a big-endian machine would have written it.
func bigEndian(t *testing.T, file []byte) []byte {
	archive, err := torchzip.Open(t.Context(), bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	contents, err := archive.Load(t.Context(), nil)
	require.NoError(t, err)
	file = slices.Clone(file)
	for _, s := range contents.Storages {
		span, err := contents.Storage(s)
		require.NoError(t, err)
		data := file[span.Offset : span.Offset+span.Size]
		for size := int(s.DType.Size()); len(data) > 0; data = data[size:] {
			slices.Reverse(data[:size])
		}
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	r, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	for _, e := range r.File {
		raw, err := e.OpenRaw() // the checksums are no longer right
		require.NoError(t, err)
		data, err := io.ReadAll(raw)
		require.NoError(t, err)
		if strings.HasSuffix(e.Name, "/byteorder") {
			data = []byte("big")
		}
		f, err := w.CreateHeader(&zip.FileHeader{Name: e.Name, Method: zip.Store})
		require.NoError(t, err)
		_, err = f.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func TestMergeBigEndian(t *testing.T) {
	for _, name := range []string{"odd-z2-bf16-w4-g3", "odd-z3-bf16-w2-g2", "odd-z1-bf16-w3-g2", "strided-z2-fp32-w2", "moe-z2-fp32-w2", "universal-z3-odd"} {
		t.Run(name, func(t *testing.T) {
			dir := copyOf(t, name)
			require.NoError(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
				if err != nil || filepath.Ext(name) != ".pt" {
					return err
				}
				data, err := os.ReadFile(name)
				require.NoError(t, err)
				return os.WriteFile(name, bigEndian(t, data), 0o600)
			}))
			s, err := zero.Open(t.Context(), dir, nil)
			require.NoError(t, err)
			for _, d := range []safetensors.DType{safetensors.F32, safetensors.BF16} {
				out := filepath.Join(t.TempDir(), "out.safetensors")
				_, err = s.Merge(t.Context(), out, &zero.MergeOptions{DType: d, Verify: true, CheckCRC: true})
				require.NoError(t, err)
				want, _ := merge(t, name, &zero.MergeOptions{DType: d})
				require.Equal(t, want, readFile(t, out))
			}
		})
	}
}

// TestMergeStrided: testdata/strided-z2-fp32-w2 has transposed parameters and
// buffers that are slices, rows and expansions of longer storages; TestMergeAsDeepSpeed
// compares the values.
func TestMergeStrided(t *testing.T) {
	all, s := merge(t, "strided-z2-fp32-w2", nil)
	require.Equal(t, []uint64{7, 9}, all["flipped"].Shape)
	require.Equal(t, []uint64{5, 3, 4}, all["cube"].Shape)
	require.Equal(t, []uint64{4, 4}, all["slice"].Shape)
	require.Equal(t, []uint64{4, 6}, all["spread"].Shape)
	require.Equal(t, bytes.Repeat(all["spread"].Data[:4], 6), all["spread"].Data[:24])
	stats, err := s.Merge(t.Context(), filepath.Join(t.TempDir(), "out"), &zero.MergeOptions{Verify: true})
	require.NoError(t, err)
	require.Equal(t, 2, stats.Verified)
}

// TestMergeLightning: Lightning before 2.1 put a prefix in front of all names.
func TestMergeLightning(t *testing.T) {
	all, s := merge(t, "lightning-z2-bf16-w2", nil)
	require.Equal(t, "checkpoint", s.Tag)
	for name := range all {
		require.False(t, strings.HasPrefix(name, "_forward_module."), name)
	}
	require.True(t, s.Report().Has("Z031"))
	stats, err := s.Merge(t.Context(), filepath.Join(t.TempDir(), "out"), &zero.MergeOptions{Verify: true})
	require.NoError(t, err)
	require.Equal(t, 4, stats.Verified)
}

func TestMergeAccelerate(t *testing.T) {
	_, s := merge(t, "accelerate-z3-bf16-w2", nil)
	require.Equal(t, "pytorch_model", s.Tag)
	require.Equal(t, 3, s.Stage)
}
