package torchzip

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/internal/peakheap"
)

// manyStorages pickles a tuple of n storages of one byte each.
func manyStorages(n int) string {
	var b strings.Builder
	b.WriteString("\x80\x02](")
	for i := range n {
		fmt.Fprintf(&b, "(X\x07\x00\x00\x00storagectorch\nByteStorage\nX\x06\x00\x00\x00%06dX\x03\x00\x00\x00cpuK\x01tQ", i)
		if i%1000 == 999 {
			b.WriteString("e(")
		}
	}
	b.WriteString("e.")
	return b.String()
}

// deflateBomb is a member of a few KB that expands to 96 MB.
func deflateBomb(t *testing.T) []byte {
	var file, packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	require.NoError(t, err)
	block := []byte(strings.Repeat("N0", 1<<15))
	for range 96 << 20 / len(block) {
		_, err := w.Write(block)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	z := zip.NewWriter(&file)
	m, err := z.CreateRaw(&zip.FileHeader{Name: "a/data.pkl", Method: zip.Deflate, CompressedSize64: uint64(packed.Len()), UncompressedSize64: 96 << 20})
	require.NoError(t, err)
	_, err = m.Write(packed.Bytes())
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return file.Bytes()
}

// However hostile the file, memory stays below 64 MiB.
func TestMemoryIsBounded(t *testing.T) {
	names := make([]member, 50_000)
	for i := range names {
		names[i].name = fmt.Sprintf("a/%05d", i)
	}
	lists := "\x80\x02]" + strings.Repeat("]a", 4<<20) + "."
	storages := manyStorages(300_000)
	fewer := manyStorages(60_000)
	keys := "\x80\x02](" + strings.Repeat("X\x06\x00\x00\x00000001", 200_000) + "e."
	legacy := legacyFile("\x01", "")
	legacy = legacy[:strings.Index(legacy, "\x80\x02(")]
	for _, test := range []struct {
		name string
		file *image
	}{
		{name: "many members and a large pickle", file: build(false, append([]member{{name: "a/data.pkl", data: lists}}, names...)...)},
		{name: "many storages", file: build(false, member{name: "a/data.pkl", data: storages})},
		{name: "many storages, cut", file: imageOf(build(false, member{name: "a/data.pkl", data: fewer, late: true}).bytes()[:len(fewer)+100])},
		{name: "many storages in the legacy format", file: imageOf([]byte(legacy + manyStorages(150_000) + keys))},
		{name: "large pickle in the legacy format", file: imageOf([]byte(legacy + lists + lists))},
		{name: "large magic number", file: imageOf([]byte(lists))},
		{name: "deflated", file: imageOf(deflateBomb(t))},
	} {
		t.Run(test.name, func(t *testing.T) {
			// One slice: the image searches its parts for every read.
			file := bytes.NewReader(test.file.bytes())
			var err error
			grew := peakheap.During(func() {
				var a *Archive
				if a, err = Open(t.Context(), file, file.Size()); err == nil {
					_, err = a.Load(t.Context(), nil)
				}
			})
			require.Error(t, err)
			t.Logf("%d MiB, heap grew by %d MiB: %.100v", file.Size()>>20, grew>>20, err)
			require.Less(t, grew, int64(64<<20))
		})
	}
}

// Archives and contents are read by many goroutines at once.
func TestConcurrentReaders(t *testing.T) {
	data := readFile(t, "testdata/torch_zip.pt")
	c := load(t, data)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for v := range c.Root.All() {
				if tensor, err := v.Tensor(); err == nil {
					_, _ = c.Tensor(tensor)
				}
			}
			_, _ = c.Root.Get("dtypes", "float32").Tensor()
			_, _ = c.a.Check(t.Context(), nil)
		})
	}
	group.Wait()
}
