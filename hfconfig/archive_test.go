package hfconfig

import (
	"bytes"
	"compress/flate"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite arch.bin from the files of arch/")

// pack returns the archive of schema files.
func pack(t *testing.T, files []string) []byte {
	var index, chunks, text bytes.Buffer
	var lines []string
	flush := func() {
		if text.Len() == 0 {
			return
		}
		before := chunks.Len()
		z, err := flate.NewWriter(&chunks, flate.BestCompression)
		require.NoError(t, err)
		_, err = text.WriteTo(z)
		require.NoError(t, err)
		require.NoError(t, z.Close())
		fmt.Fprintf(&index, "chunk %d\n%s\n", chunks.Len()-before, strings.Join(lines, "\n"))
		lines = nil
	}
	owner := make(map[string]string)
	for _, name := range files {
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		a, err := ParseArch(source)
		require.NoError(t, err, name)
		for _, modelType := range a.ModelTypes() {
			require.Empty(t, owner[modelType], "%s stands in %s too", modelType, name)
			owner[modelType] = name
		}
		lines = append(lines, fmt.Sprintf("%s %d %s", filepath.Base(name), len(source), strings.Join(a.ModelTypes(), " ")))
		if text.Write(source); text.Len() >= chunkSize {
			flush()
		}
	}
	flush()
	return append(append(index.Bytes(), '\n'), chunks.Bytes()...)
}

func TestArchive(t *testing.T) {
	files, err := filepath.Glob("arch/*.arch")
	require.NoError(t, err)
	want := pack(t, files)
	if *update {
		require.NoError(t, os.WriteFile("arch.bin", want, 0o644))
		t.Skip("arch.bin was written; run again without -update to check it")
	}
	require.Less(t, len(archive), 500_000, "what the schemas add to a program")
	head, _, _ := strings.Cut(archive, "\n\n")
	packs := make(map[string]*packed)
	for _, f := range builtinIndex() {
		packs[f.name] = f
	}
	const stale = "arch.bin is out of date: go generate ./hfconfig"
	require.Len(t, packs, len(files), stale)
	for _, name := range files {
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		f := packs[filepath.Base(name)]
		require.NotNil(t, f, "%s: %s", name, stale)
		text, err := f.text()
		require.NoError(t, err)
		require.Equal(t, string(source), string(text), stale)
		a, err := f.parse()
		require.NoError(t, err)
		for _, modelType := range a.ModelTypes() {
			require.Same(t, f, builtinIndex()[modelType], modelType)
		}
		require.Contains(t, head, "\n"+f.name+" ")
	}
	require.Equal(t, slices.Sorted(slices.Values(Builtin().ModelTypes())), Builtin().ModelTypes())
}

// Many goroutines may ask for a schema that nobody has asked for before.
func TestFirstUseAtOnce(t *testing.T) {
	index := readArchive(archive)
	types := Builtin().ModelTypes()[:20]
	got := make([][]*Arch, 8)
	var wg sync.WaitGroup
	for i := range got {
		got[i] = make([]*Arch, len(types))
		wg.Go(func() {
			for j, modelType := range types {
				got[i][j], _ = index[modelType].parse()
			}
		})
	}
	wg.Wait()
	for j := range types {
		require.NotNil(t, got[0][j])
		for i := range got {
			require.Same(t, got[0][j], got[i][j])
		}
	}
}
