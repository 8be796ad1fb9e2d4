package safetensors_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/safetensors"
)

// bigHeader returns a header as the reference writes it, of n tensors.
func bigHeader(n int) []byte {
	var b strings.Builder
	b.WriteString(`{"__metadata__":{"format":"pt"}`)
	for i := range n {
		fmt.Fprintf(&b, `,"model.language_model.layers.%05d.self_attn.q_proj.weight":{"dtype":"BF16","shape":[2,2],"data_offsets":[%d,%d]}`, i, 8*i, 8*i+8)
	}
	b.WriteString("}")
	return raw(b.String(), nil)
}

// BenchmarkOpen opens files of 729 tensors, as a 16 GB model in one file has, and
// of 100,000; bytes per second are those of the header.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{729, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			head := bigHeader(n)
			src := &sparse{head, int64(len(head) + 8*n)}
			b.SetBytes(int64(len(head)))
			b.ReportAllocs()
			for b.Loop() {
				f, err := safetensors.NewFile(src, src.size, nil)
				if err != nil || len(f.Header().Tensors) != n {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkGuard arms and disarms a guard.
func BenchmarkGuard(b *testing.B) {
	f := open(b, writeTemp(b, raw(twoTensors, count(12))), nil)
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Guard(func() error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// TestOpenAllocates bounds what the decoder takes for a large header: at most
// three times its bytes, the header's own included.
func TestOpenAllocates(t *testing.T) {
	head := bigHeader(100_000)
	src := &sparse{head, int64(len(head) + 8*100_000)}
	before := allocated()
	f, err := safetensors.NewFile(src, src.size, nil)
	require.NoError(t, err)
	require.Less(t, allocated()-before, uint64(3*len(head)))
	require.NoError(t, f.Close())
}

// TestWriteBench leaves the files of BenchmarkOpen for peers to open.
func TestWriteBench(t *testing.T) {
	dir := os.Getenv("SAFECKPT_BENCH_DIR")
	if dir == "" {
		t.Skip("writes files only if SAFECKPT_BENCH_DIR names a directory")
	}
	for _, n := range []int{729, 100_000} {
		head := bigHeader(n)
		require.NoError(t, os.WriteFile(fmt.Sprintf("%s/%d.safetensors", dir, n), append(bytes.Clone(head), make([]byte, 8*n)...), 0o644))
	}
}
