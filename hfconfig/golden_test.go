package hfconfig_test

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/hfconfig"
)

// goldenDir may name a directory with more golden entries.
const goldenDir = "SAFECKPT_GOLDEN"

// A golden entry was made with transformers 5.23: a config and the names and
// shapes of the tensors that save_pretrained wrote for it.
type golden struct {
	ID              string              `json:"id"`
	Class           string              `json:"class"`
	ModelType       string              `json:"model_type"`
	Config          json.RawMessage     `json:"config"`
	ConfigPublished json.RawMessage     `json:"config_published"`
	Tensors         map[string][]uint64 `json:"tensors"`
	TensorsNative   map[string][]uint64 `json:"tensors_native"`
	TensorsHub      map[string][]uint64 `json:"tensors_hub"`
	Tied            [][]string          `json:"tied"`
	ParamCount      uint64              `json:"param_count"`
	Notes           []string            `json:"notes"`
}

func goldens(tb testing.TB) []golden {
	files, err := filepath.Glob("testdata/golden/*.json.gz")
	require.NoError(tb, err)
	if dir := os.Getenv(goldenDir); dir != "" {
		files, err = filepath.Glob(filepath.Join(dir, "*.json.gz"))
		require.NoError(tb, err)
	}
	require.NotEmpty(tb, files)
	var out []golden
	for _, name := range files {
		out = append(out, readGolden(tb, name))
	}
	return out
}

func readGolden(tb testing.TB, name string) (g golden) {
	f, err := os.Open(name)
	require.NoError(tb, err)
	z, err := gzip.NewReader(f)
	require.NoError(tb, err)
	require.NoError(tb, json.NewDecoder(z).Decode(&g))
	require.NoError(tb, f.Close())
	return g
}

func TestGolden(t *testing.T) {
	entries := goldens(t)
	agree, absent := 0, 0
	defer func() { t.Logf("%d entries held, %d of classes without a schema", agree, absent) }()
	for _, g := range entries {
		if c, err := hfconfig.Parse(g.Config); err == nil {
			if x, err := hfconfig.Builtin().Expect(c, &hfconfig.ExpectOptions{Class: g.Class}); errors.Is(err, hfconfig.ErrUnknownModel) || err == nil && x.Partial {
				t.Logf("%s: no schema of %s (%s)", g.ID, g.Class, g.ModelType)
				absent++
				continue
			}
		}
		agree++
		t.Run(g.ID, func(t *testing.T) {
			g.check(t, g.Config)
		})
		// A note says where a key means another thing in published files than in
		// those of transformers 5.
		if g.ConfigPublished != nil && !strings.Contains(strings.Join(g.Notes, " "), "means") {
			t.Run(g.ID+"/published", func(t *testing.T) {
				g.check(t, g.ConfigPublished)
			})
		}
	}
}

func (g *golden) check(t *testing.T, config []byte) {
	c, err := hfconfig.Parse(config)
	require.NoError(t, err)
	o := &hfconfig.ExpectOptions{}
	if a := c.Architectures(); len(a) == 0 || g.Class == "GPT2Model" { // the published gpt2 names the class with a head
		o.Class = g.Class
	}
	x, err := hfconfig.Builtin().Expect(c, o)
	require.NoError(t, err)
	require.Equal(t, g.Class, x.Architecture)
	require.False(t, x.Partial)
	want := map[hfconfig.Layout]map[string][]uint64{hfconfig.Save: g.Tensors}
	layouts := []hfconfig.Layout{hfconfig.Save}
	for l, tensors := range map[hfconfig.Layout]map[string][]uint64{hfconfig.Native: g.TensorsNative, hfconfig.Hub: g.TensorsHub} {
		if tensors != nil {
			want[l] = tensors
		}
	}
	for _, l := range []hfconfig.Layout{hfconfig.Native, hfconfig.Hub} {
		if want[l] != nil {
			layouts = append(layouts, l)
		}
	}
	require.Equal(t, layouts, x.Layouts())
	for _, l := range layouts {
		require.Equal(t, want[l], x.Tensors(l), l.String())
		n := 0
		for tensor := range x.All(l) {
			require.Equal(t, want[l][tensor.Name], tensor.Shape, tensor.Name)
			n++
		}
		require.Len(t, want[l], n)
	}
	require.Equal(t, len(g.Tensors), x.Len())
	require.Equal(t, g.ParamCount, x.Parameters())
	if len(g.Tied) == 0 {
		require.Empty(t, x.Tied())
	} else {
		require.ElementsMatch(t, g.Tied, x.Tied())
	}
}
