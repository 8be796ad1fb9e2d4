package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

type inspectCmd struct {
	JSON bool   `name:"json" help:"Write one JSON object."`
	Path string `arg:"" help:"A safetensors file, or a directory with some."`
}

// Help is shown by inspect --help.
func (*inspectCmd) Help() string {
	return `Examples:
  safeckpt inspect model.safetensors
  safeckpt inspect --json outputs/run/checkpoint-100 | jq '.files[].tensors[].name'`
}

// inspected is a file in JSON: its header, or what is wrong with it.
type inspected struct {
	Schema      int               `json:"schema"`
	Path        string            `json:"path"`
	HeaderBytes uint64            `json:"header_bytes"`
	Metadata    map[string]string `json:"metadata"`
	Tensors     []inspectedTensor `json:"tensors"`

	size   int64
	report *diag.Report
}

type inspectedTensor struct {
	Name        string    `json:"name"`
	DType       string    `json:"dtype"`
	Shape       []uint64  `json:"shape"`
	DataOffsets [2]uint64 `json:"data_offsets"`
}

// refused is what JSON has in place of inspected for a file that was refused.
type refused struct {
	Schema   int            `json:"schema"`
	Path     string         `json:"path"`
	Problems []diag.Problem `json:"problems"`
}

func (c *inspectCmd) run(e *env) (int, error) {
	info, err := os.Stat(c.Path)
	if err != nil {
		return statusFailed, err
	}
	names := []string{c.Path}
	if info.IsDir() {
		if names, err = safetensorsFiles(c.Path); err != nil {
			return statusFailed, err
		}
	}
	status := statusOK
	var files []any
	for _, name := range names {
		f, err := inspectFile(name)
		if err != nil {
			return statusFailed, err
		}
		if f.Tensors == nil {
			status = statusProblem
		}
		if c.JSON {
			files = append(files, f.json())
		} else if err := f.write(e); err != nil {
			return statusFailed, err
		}
	}
	switch {
	case !c.JSON:
		return status, nil
	case info.IsDir():
		return status, writeJSON(e.stdout, struct {
			Schema int    `json:"schema"`
			Path   string `json:"path"`
			Files  []any  `json:"files"`
		}{1, c.Path, files})
	default:
		return status, writeJSON(e.stdout, files[0])
	}
}

func safetensorsFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".safetensors") {
			names = append(names, filepath.Join(dir, entry.Name()))
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: no .safetensors file in this directory", dir)
	}
	slices.SortFunc(names, diag.CompareNames)
	return names, nil
}

func inspectFile(name string) (*inspected, error) {
	out := &inspected{Schema: 1, Path: name}
	f, err := safetensors.Open(name, nil)
	var bad *safetensors.FormatError
	switch {
	case errors.As(err, &bad):
		out.report, out.size = bad.Report, bad.Size
		return out, nil
	case err != nil:
		return nil, err
	}
	defer f.Close()
	h := f.Header()
	out.HeaderBytes, out.Metadata, out.size = h.Length, h.Metadata, f.Size()
	out.report = &diag.Report{}
	out.report.Merge("", f.Report())
	out.report.Add(safetensors.Hints(h)...)
	out.Tensors = make([]inspectedTensor, len(h.Tensors))
	for i, t := range h.Tensors {
		shape := t.Shape
		if shape == nil {
			shape = []uint64{}
		}
		out.Tensors[i] = inspectedTensor{t.Name, t.DType.String(), shape, [2]uint64{t.Begin, t.End}}
	}
	return out, nil
}

func (f *inspected) json() any {
	if f.Tensors == nil {
		return refused{1, f.Path, f.report.Problems()}
	}
	return f
}

func (f *inspected) write(e *env) error {
	fmt.Fprintf(e.stdout, "%s: %s\n", diag.Name(f.Path), diag.Size(uint64(f.size)))
	if f.Tensors != nil {
		bytes, parameters := map[string]uint64{}, uint64(0)
		width := 0
		for _, t := range f.Tensors {
			bytes[t.DType] += t.DataOffsets[1] - t.DataOffsets[0]
			parameters += elements(t.Shape)
			width = max(width, len(diag.Name(t.Name)))
		}
		fmt.Fprintf(e.stdout, "  header of %d bytes, %s, %s parameters\n", f.HeaderBytes, diag.Count(len(f.Tensors), "tensor"), thousands(parameters))
		for _, dtype := range sortedKeys(bytes) {
			fmt.Fprintf(e.stdout, "  %s: %s\n", dtype, diag.Size(bytes[dtype]))
		}
		for _, key := range sortedKeys(f.Metadata) {
			fmt.Fprintf(e.stdout, "  metadata %s = %s\n", diag.Name(key), diag.Name(f.Metadata[key]))
		}
		for _, t := range f.Tensors {
			fmt.Fprintf(e.stdout, "  %-*s  %-8s %-20s %s\n", min(width, 100), diag.Name(t.Name), t.DType, shapeText(t.Shape), diag.Size(t.DataOffsets[1]-t.DataOffsets[0]))
		}
	}
	return f.report.WriteText(e.stdout, &diag.TextOptions{Color: e.color, Indent: "  "})
}

func elements(shape []uint64) uint64 {
	n := uint64(1)
	for _, d := range shape {
		n *= d
	}
	return n
}

func shapeText(shape []uint64) string {
	return strings.ReplaceAll(fmt.Sprint(shape), " ", ",")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
