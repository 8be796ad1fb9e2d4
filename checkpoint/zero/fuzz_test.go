package zero_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint/zero"
	"github.com/safeckpt/safeckpt/safetensors"
)

// fuzzed are the checkpoints that FuzzMerge damages: one of each layout.
var fuzzed = []string{"odd-z1-bf16opt-w2-g2", "odd-z2-bf16-w4-g3", "odd-z2-bf16-w2-align", "odd-z3-bf16-w2-g2", "odd-z3-bf16-w4-subgroup", "zerosize-z2-fp32-w2",
	"moe-z2-fp32-w2", "pipe-z1-bf16-pp2", "universal-z3-odd", "odd-z2-legacyfmt-w2", "fsdp-tp-w4", "strided-z2-fp32-w2", "lightning-z2-bf16-w2"}

func memory(t testing.TB, dir string) fstest.MapFS {
	files := make(fstest.MapFS)
	root := os.DirFS(filepath.Join("testdata", dir))
	require.NoError(t, fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(name, "expected") {
			return err
		}
		data, err := fs.ReadFile(root, name)
		files[name] = &fstest.MapFile{Data: data}
		return err
	}))
	return files
}

// repack returns the archive with another pickle, whose checksum is then right.
func repack(file, pickle []byte) []byte {
	r, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return pickle // a file that is no archive is replaced whole
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, e := range r.File {
		data := pickle
		if !strings.HasSuffix(e.Name, "/data.pkl") {
			f, err := e.Open()
			if err != nil {
				return file
			}
			if data, err = io.ReadAll(f); err != nil {
				return file
			}
		}
		f, err := w.CreateHeader(&zip.FileHeader{Name: e.Name, Method: zip.Store})
		if err == nil {
			_, err = f.Write(data)
		}
		if err != nil {
			return file
		}
	}
	if w.Close() != nil {
		return file
	}
	return out.Bytes()
}

func pickleOf(file []byte) []byte {
	r, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return file
	}
	for _, e := range r.File {
		if strings.HasSuffix(e.Name, "/data.pkl") {
			if f, err := e.Open(); err == nil {
				data, _ := io.ReadAll(f)
				return data
			}
		}
	}
	return nil
}

// FuzzMerge replaces the pickle of one file of a checkpoint. Whatever it says, the
// merge ends in an error and no output, or in a file that can be opened.
func FuzzMerge(f *testing.F) {
	var all []fstest.MapFS
	for i, dir := range fuzzed {
		files := memory(f, dir)
		all = append(all, files)
		for k, name := range slices.Sorted(maps.Keys(files)) {
			f.Add(uint8(i), uint8(k), pickleOf(files[name].Data))
		}
	}
	out := f.TempDir()
	f.Fuzz(func(t *testing.T, dir, file uint8, pickle []byte) {
		files := maps.Clone(all[int(dir)%len(all)])
		names := slices.Sorted(maps.Keys(files))
		name := names[int(file)%len(names)]
		files[name] = &fstest.MapFile{Data: repack(files[name].Data, pickle)}
		s, err := zero.OpenFS(t.Context(), files, nil)
		var refused *zero.Error
		if errors.As(err, &refused) {
			for _, p := range refused.Report.Problems() {
				require.NotEmpty(t, p.Message)
			}
			return
		}
		require.NoError(t, err)
		dst := filepath.Join(out, "fuzz.safetensors")
		_, err = s.Merge(t.Context(), dst, &zero.MergeOptions{Force: true, Verify: true})
		if errors.As(err, &refused) {
			return
		}
		if err != nil { // a dtype or a name that safetensors does not have
			require.NotContains(t, err.Error(), "not complete")
			return
		}
		got, err := safetensors.Open(dst, nil)
		require.NoError(t, err)
		require.NoError(t, got.Close())
	})
}
