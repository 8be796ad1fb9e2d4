package safetensors_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

var update = flag.Bool("update", false, "rewrite golden files")

const conformance = "../testdata/conformance/"

type conformanceCase struct {
	Name        string
	Accept      bool
	Digest      string
	HeaderLen   uint64            `json:"header_len"`
	TensorCount int               `json:"tensor_count"`
	Metadata    map[string]string `json:"metadata"`
	HeaderJSON  string            `json:"header_json"` // of built cases only
	DataLen     int64             `json:"data_len"`
}

func loadConformance(t testing.TB) (cases, built []conformanceCase, files map[string][]byte) {
	t.Helper()
	var all struct{ Cases, Built []conformanceCase }
	text, err := os.ReadFile(conformance + "expected.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &all))
	archive, err := zip.OpenReader(conformance + "cases.zip")
	require.NoError(t, err)
	defer archive.Close()
	files = make(map[string][]byte)
	for _, f := range archive.File {
		r, err := f.Open()
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		files[strings.TrimSuffix(f.Name, ".safetensors")] = data
	}
	return all.Cases, all.Built, files
}

// TestConformance holds our verdict against the reference's on every case, and
// the codes we give against a golden file.
func TestConformance(t *testing.T) {
	cases, _, files := loadConformance(t)
	require.Len(t, cases, 493)
	var codes strings.Builder
	for _, c := range cases {
		data, ok := files[c.Name]
		require.True(t, ok, c.Name)
		t.Run(c.Name, func(t *testing.T) {
			f, err := safetensors.NewFile(bytes.NewReader(data), int64(len(data)), nil)
			fmt.Fprintln(&codes, c.Name, strings.Join(reportCodes(t, f, err), " "))
			if !c.Accept {
				require.ErrorIs(t, err, safetensors.ErrFormat)
				return
			}
			require.NoError(t, err)
			defer f.Close()
			h := f.Header()
			require.Equal(t, c.HeaderLen, h.Length)
			require.Len(t, h.Tensors, c.TensorCount)
			require.Equal(t, c.Metadata, h.Metadata)
			require.Equal(t, c.Digest, digest(h))
			checkInvariants(t, f)
		})
	}
	const golden = conformance + "codes.txt"
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(codes.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), codes.String(), "run: go test ./safetensors -run Conformance -update")
}

// TestConformanceBuilt runs the cases at the header limit.
func TestConformanceBuilt(t *testing.T) {
	if testing.Short() {
		t.Skip("needs 100 MB")
	}
	_, built, _ := loadConformance(t)
	require.Len(t, built, 7)
	for _, c := range built {
		t.Run(c.Name, func(t *testing.T) {
			data := binary.LittleEndian.AppendUint64(nil, c.HeaderLen)
			data = append(data, c.HeaderJSON...)
			data = append(data, bytes.Repeat([]byte{' '}, int(c.HeaderLen)-len(c.HeaderJSON))...)
			data = append(data, make([]byte, c.DataLen)...)
			f, err := safetensors.NewFile(bytes.NewReader(data), int64(len(data)), nil)
			if !c.Accept {
				require.ErrorIs(t, err, safetensors.ErrFormat)
				return
			}
			require.NoError(t, err)
			checkInvariants(t, f)
		})
	}
}

// reportCodes returns the codes of a verdict, each once.
func reportCodes(t testing.TB, f *safetensors.File, err error) []string {
	var report *diag.Report
	if fe := (*safetensors.FormatError)(nil); errors.As(err, &fe) {
		report = fe.Report
		require.Positive(t, report.Count(diag.Error))
	} else {
		require.NoError(t, err)
		report = f.Report()
		require.Zero(t, report.Count(diag.Error))
	}
	seen := make(map[string]bool)
	for _, p := range report.Problems() {
		require.NotEmpty(t, p.Message)
		_, known := p.Code.Info()
		require.True(t, known, p.Code)
		seen[string(p.Code)] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// digest is described in the README of the cases.
func digest(h *safetensors.Header) string {
	sum := sha256.New()
	for _, t := range h.Tensors {
		dims := make([]string, len(t.Shape))
		for i, d := range t.Shape {
			dims[i] = fmt.Sprint(d)
		}
		fmt.Fprintf(sum, "t %x %s [%s] %d %d\n", t.Name, t.DType, strings.Join(dims, ","), t.Begin, t.End)
	}
	for _, k := range slices.Sorted(maps.Keys(h.Metadata)) {
		fmt.Fprintf(sum, "m %x %x\n", k, h.Metadata[k])
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// checkInvariants checks what holds for every accepted file, whatever it is.
func checkInvariants(t testing.TB, f *safetensors.File) {
	h := f.Header()
	var end uint64
	for i := range h.Tensors {
		info := &h.Tensors[i]
		require.Equal(t, end, info.Begin, "tensors follow each other")
		require.GreaterOrEqual(t, info.End, info.Begin)
		end = info.End
		require.NotZero(t, info.DType)
		require.Equal(t, info.Bytes()*8, info.Elements()*uint64(info.DType.Bits()))
		found, ok := h.Lookup(info.Name)
		require.True(t, ok)
		require.Same(t, info, found)
	}
	require.Equal(t, uint64(f.Size()), uint64(h.DataStart())+end, "tensors cover the file")
}
