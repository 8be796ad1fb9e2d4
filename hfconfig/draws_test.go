package hfconfig_test

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/hfconfig"
)

// A heldConfig is a config of a class, drawn at random or thought of by somebody
// (schemagen/cases.jsonl), and digests of what transformers 5.23 saves for it.
type heldConfig struct {
	Class  string          `json:"class"`
	Config json.RawMessage `json:"config"`
	Count  int             `json:"count"` // tensors saved
	Save   string          `json:"save"`  // digest of their names and shapes
	Native string          `json:"native"`
	Ties   string          `json:"ties"` // of dropped and kept names
}

func heldConfigs(t *testing.T, file string) (out []heldConfig) {
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	for dec := json.NewDecoder(z); dec.More(); {
		var d heldConfig
		require.NoError(t, dec.Decode(&d))
		out = append(out, d)
	}
	return out
}

const (
	drawsFile = "testdata/draws.jsonl.gz"
	casesFile = "testdata/cases.jsonl.gz"
)

// drawnClasses returns the proven classes, sorted.
func drawnClasses(t *testing.T) (out []string) {
	for _, d := range heldConfigs(t, drawsFile) {
		out = append(out, d.Class)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestDraws holds the embedded schemas of every proven class against random
// configs, and those of some against configs that random draws miss.
func TestDraws(t *testing.T) {
	classes := make(map[string]int)
	for _, d := range slices.Concat(heldConfigs(t, drawsFile), heldConfigs(t, casesFile)) {
		classes[d.Class]++
		t.Run(fmt.Sprintf("%s/%d", d.Class, classes[d.Class]), func(t *testing.T) {
			c, err := hfconfig.Parse(d.Config)
			require.NoError(t, err)
			x, err := hfconfig.Builtin().Expect(c, &hfconfig.ExpectOptions{Class: d.Class})
			require.NoError(t, err)
			require.False(t, x.Partial, "the class is not described")
			require.Equal(t, d.Count, len(x.Tensors(hfconfig.Save)), "tensors saved")
			require.Equal(t, d.Save, digestTensors(x, hfconfig.Save), "names and shapes as saved")
			require.Equal(t, d.Native, digestTensors(x, hfconfig.Native), "native names and shapes")
			require.Equal(t, d.Ties, digestTies(x), "ties")
		})
	}
	require.Greater(t, len(classes), 1000)
}

func digestTensors(x *hfconfig.Expectation, l hfconfig.Layout) string {
	var lines []string
	for name, shape := range x.Tensors(l) {
		for _, n := range shape {
			name += fmt.Sprint(" ", n)
		}
		lines = append(lines, name+"\n")
	}
	return digest(lines)
}

func digestTies(x *hfconfig.Expectation) string {
	var lines []string
	for _, group := range x.Tied() {
		for _, dropped := range group[1:] {
			lines = append(lines, dropped+" "+group[0]+"\n")
		}
	}
	return digest(lines)
}

func digest(lines []string) string {
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "")))
	return hex.EncodeToString(sum[:8])
}
