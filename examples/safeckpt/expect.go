package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/hfconfig"
)

type expectCmd struct {
	JSON    bool     `name:"json" help:"Write one JSON object a line, in the order of the arguments."`
	Layout  string   `enum:"save,native,hub" default:"save" help:"Names as save_pretrained writes them (save), as the modules have them (native), or as the published files do (hub)."`
	Configs []string `arg:"" name:"config" help:"A config.json, or a directory with one."`
}

// Help is shown by expect --help.
func (*expectCmd) Help() string {
	return `Examples:
  safeckpt expect outputs/run/checkpoint-100
  safeckpt expect --json --layout native config.json | jq '.tensors | length'`
}

type expected struct {
	Schema       int                 `json:"schema"`
	ModelType    string              `json:"model_type"`
	Architecture string              `json:"architecture"`
	Layout       string              `json:"layout"`
	Layouts      []string            `json:"layouts"`
	Tensors      map[string][]uint64 `json:"tensors"`
	Tied         [][]string          `json:"tied"`
	Optional     map[string][]uint64 `json:"optional"`
	Parameters   uint64              `json:"parameters"`
}

// unusable is what JSON has in place of expected for a config that leads to none.
type unusable struct {
	Schema int    `json:"schema"`
	Path   string `json:"path"`
	Error  string `json:"error"`
}

func (c *expectCmd) run(e *env) (int, error) {
	layout, _ := hfconfig.ParseLayout(c.Layout) // the flag's enum admits no other
	status := statusOK
	for _, path := range c.Configs {
		x, err := expect(path)
		if err != nil {
			status = statusFailed
			if !c.JSON {
				fmt.Fprintf(e.stderr, "safeckpt: %s: %v\n", path, err)
			} else if err := writeJSON(e.stdout, unusable{1, path, err.Error()}); err != nil {
				return statusFailed, err
			}
			continue
		}
		if c.JSON {
			err = writeJSON(e.stdout, describe(x, layout))
		} else {
			err = writeExpectation(e, path, x, layout)
		}
		if err != nil {
			return statusFailed, err
		}
	}
	return status, nil
}

func expect(path string) (*hfconfig.Expectation, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "config.json")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	config, err := hfconfig.Parse(text)
	if err != nil {
		return nil, err
	}
	return hfconfig.Builtin().Expect(config, nil)
}

func describe(x *hfconfig.Expectation, l hfconfig.Layout) *expected {
	out := &expected{
		Schema:       1,
		ModelType:    x.ModelType,
		Architecture: x.Architecture,
		Layout:       l.String(),
		Tensors:      x.Tensors(l),
		Tied:         x.Tied(),
		Optional:     x.Optional(l),
		Parameters:   x.Parameters(),
	}
	for _, l := range x.Layouts() {
		out.Layouts = append(out.Layouts, l.String())
	}
	if out.Tied == nil {
		out.Tied = [][]string{}
	}
	if out.Optional == nil {
		out.Optional = map[string][]uint64{}
	}
	return out
}

func writeExpectation(e *env, path string, x *hfconfig.Expectation, l hfconfig.Layout) error {
	tensors := x.Tensors(l)
	fmt.Fprintf(e.stdout, "%s: %s, %s, %s parameters\n", diag.Name(path), x.Architecture, diag.Count(len(tensors), "tensor"), thousands(x.Parameters()))
	names := slices.SortedFunc(maps.Keys(tensors), diag.CompareNames)
	for _, name := range names {
		if _, err := fmt.Fprintf(e.stdout, "  %-60s %s\n", name, shapeText(tensors[name])); err != nil {
			return err
		}
	}
	for _, group := range x.Tied() {
		fmt.Fprintf(e.stdout, "  tied: %s stands for %v\n", group[0], group[1:])
	}
	return nil
}
