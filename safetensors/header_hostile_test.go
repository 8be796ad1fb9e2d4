//go:build !race

package safetensors_test

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/safetensors"
)

// TestHostileHeaderTakesLittleMemory bounds what is allocated for headers that
// hold as many entries as bytes allow, in times their size. The race detector takes
// several times that itself.
func TestHostileHeaderTakesLittleMemory(t *testing.T) {
	for _, tt := range []struct {
		name, before, entry, after string // # is a number
		times                      uint64
	}{
		{"short objects", "{", `"#":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`, "}", 5},
		{"arrays", "{", `"#":["U8",[0],[0,0]]`, "}", 12},
		{"one name", "{", `"":["U8",[],[0,0]]`, "}", 13},
		{"nothing but offsets", "{", `"#":[0,0,[0,0]]`, "}", 14},
		{"many dimensions", "{", `"#":["U8",[0,0,0,0,0,0,0,0],[0,0]]`, "}", 12},
		{"not sorted", "{", `"#":["U8",[],[9#,9#]]`, "}", 15},
		{"no tensors", "{", `"":0`, "}", 4},
		{"metadata", `{"__metadata__":{`, `"#":""`, "}}", 15},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			b.WriteString(tt.before)
			for i := 0; b.Len() < 4<<20; i++ {
				if i > 0 {
					b.WriteByte(',')
				}
				b.WriteString(strings.ReplaceAll(tt.entry, "#", strconv.Itoa(1<<20-i)))
			}
			b.WriteString(tt.after)
			file := raw(b.String(), nil)
			before := allocated()
			f, err := safetensors.NewFile(bytes.NewReader(file), int64(len(file)), nil)
			took := allocated() - before
			if err == nil {
				require.NoError(t, f.Close())
			} else {
				require.ErrorIs(t, err, safetensors.ErrFormat)
			}
			t.Logf("%.1f times", float64(took)/float64(len(file)))
			require.Less(t, took, tt.times*uint64(len(file)))
		})
	}
}
