// Package depcheck holds the test that keeps the direction of imports: what
// importers of the light packages pull in is a promise.
package depcheck

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/safeckpt/safeckpt/"

// layers lists the public packages from the lowest up: each may import those
// before it and none after it.
var layers = []string{"diag", "safetensors", "hfconfig", "peft", "checkpoint/zero", "checkpoint", "checkpoint/run", "checkpoint/checkpointtest"}

// light packages may import, beside the standard library and this module, only
// these modules.
var light = map[string][]string{
	"diag":        nil,
	"safetensors": {"golang.org/x/exp/", "golang.org/x/sys/", "github.com/x448/float16"},
}

type pkg struct {
	ImportPath string
	Deps       []string
	Standard   bool
}

func goList(t *testing.T) map[string]pkg {
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Deps,Standard", module+"...").Output()
	require.NoError(t, err)
	all := make(map[string]pkg)
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else {
			require.NoError(t, err)
		}
		all[p.ImportPath] = p
	}
}

func TestImportDirection(t *testing.T) {
	all := goList(t)
	require.Contains(t, all, module+"diag")
	for i, layer := range layers {
		for _, dep := range all[module+layer].Deps {
			rest, ours := strings.CutPrefix(dep, module)
			require.False(t, ours && slices.Contains(layers[i+1:], rest), "%s must not import %s", layer, rest)
			require.False(t, ours && strings.HasPrefix(rest, "examples/"), "%s must not import %s", layer, rest)
		}
	}
}

func TestLightPackages(t *testing.T) {
	all := goList(t)
	for name, allowed := range light {
		for _, dep := range all[module+name].Deps {
			if all[dep].Standard || strings.HasPrefix(dep, module) {
				continue
			}
			require.True(t, slices.ContainsFunc(allowed, func(prefix string) bool { return strings.HasPrefix(dep, prefix) }),
				"%s must not depend on %s", name, dep)
		}
	}
}

func TestToolUsesPublicPackagesOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, module+"examples/...").Output()
	require.NoError(t, err)
	require.NotContains(t, string(out), module+"internal/")
}
