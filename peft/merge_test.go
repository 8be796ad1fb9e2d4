package peft_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/peft"
	"github.com/safeckpt/safeckpt/safetensors"
)

// mergeExpectation is what PEFT's merge of a fixture holds (expected.json).
type mergeExpectation struct {
	Base   string
	Merged map[string]struct {
		DType   string
		Shape   []uint64
		SHA256  string
		Safe    string `json:"sha256_safe_merge"` // "" if it is the same
		Changed bool
	}
}

type mergedTensor struct {
	DType string
	Shape []uint64
	Data  []byte
}

func readModel(t testing.TB, dir string) map[string]mergedTensor {
	m, err := safetensors.OpenModel(os.DirFS(dir), nil)
	require.NoError(t, err)
	defer m.Close()
	require.Zero(t, m.Report().Count(diag.Error), m.Report().Summary())
	all := make(map[string]mergedTensor)
	for name, tensor := range m.All() {
		data, err := io.ReadAll(tensor.Open())
		require.NoError(t, err)
		info := tensor.Info()
		all[name] = mergedTensor{info.DType.String(), append([]uint64{}, info.Shape...), data}
	}
	return all
}

// apart returns how far two F32 tensors lie apart, as a part of the largest element.
func apart(a, b []byte) float64 {
	worst, most := 0.0, 0.0
	for i := 0; i+4 <= len(a); i += 4 {
		x := float64(math.Float32frombits(uint32(a[i]) | uint32(a[i+1])<<8 | uint32(a[i+2])<<16 | uint32(a[i+3])<<24))
		y := float64(math.Float32frombits(uint32(b[i]) | uint32(b[i+1])<<8 | uint32(b[i+2])<<16 | uint32(b[i+3])<<24))
		worst, most = max(worst, math.Abs(x-y)), max(most, math.Abs(y))
	}
	return worst / most
}

// TestMergeAsPEFT holds merges against the digests of what PEFT 0.21.2 made of the
// same adapters, by default and with safe_merge.
func TestMergeAsPEFT(t *testing.T) {
	roots := []string{"testdata"}
	if dir := os.Getenv("SAFECKPT_PEFT_FIXTURES"); dir != "" {
		roots = append(roots, dir)
	}
	for _, root := range roots {
		dirs, err := filepath.Glob(filepath.Join(root, "fixtures", "*"))
		require.NoError(t, err)
		same, total := 0, 0
		for _, dir := range dirs {
			text, err := os.ReadFile(filepath.Join(dir, "expected.json"))
			require.NoError(t, err)
			var x mergeExpectation
			require.NoError(t, json.Unmarshal(text, &x))
			adapter := filepath.Join(dir, "adapter")
			if _, err := os.Stat(adapter); err != nil || x.Merged == nil {
				continue
			}
			for _, safe := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/safe=%v", root, filepath.Base(dir), safe), func(t *testing.T) {
					out := filepath.Join(t.TempDir(), "out")
					base := filepath.Join(root, "bases", filepath.Base(x.Base))
					stats, err := peft.Merge(t.Context(), base, adapter, out, &peft.MergeOptions{Safe: safe})
					var refused *peft.MergeError
					if errors.As(err, &refused) {
						t.Fatal(refused.Report.Problems())
					}
					require.NoError(t, err)
					got, was := readModel(t, out), readModel(t, base)
					require.Len(t, got, stats.Tensors)
					require.ElementsMatch(t, slices.Collect(maps.Keys(x.Merged)), slices.Collect(maps.Keys(got)))
					for name, want := range x.Merged {
						g := got[name]
						require.Equal(t, want.DType, g.DType, name)
						require.Equal(t, want.Shape, g.Shape, name)
						if !want.Changed {
							require.Equal(t, was[name], g, name)
							continue
						}
						digest := want.SHA256
						if safe && want.Safe != "" {
							digest = want.Safe
						}
						total++
						sum := sha256.Sum256(g.Data)
						if hex.EncodeToString(sum[:]) == digest {
							same++
							continue
						}
						ref := readModel(t, dir)[name]
						t.Logf("%s %v: not the same bits, %g of the largest element apart", name, g.Shape, apart(g.Data, ref.Data))
						require.Less(t, apart(g.Data, ref.Data), 2e-7, name)
					}
				})
			}
		}
		t.Logf("%s: %d of %d changed tensors bit-identical", root, same, total)
	}
}
