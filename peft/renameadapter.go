package peft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/modeldir"
	"github.com/safeckpt/safeckpt/safetensors"
)

// RenameOptions configures RenameAdapter. Nil means defaults.
type RenameOptions struct {
	Force bool // overwrite what is there
	// Step is called before every operation that changes files; see
	// safetensors.WriterOptions.
	Step func(op, path string) error
}

// RenameStats says what RenameAdapter wrote.
type RenameStats struct {
	Tensors int      // in the adapter
	Renamed int      // of them, under another name
	Rules   []Rename // the changes of modules' names among them
	Fields  []string // of adapter_config.json, that name modules and were changed
	// Report holds what is wrong with the copy besides.
	Report *diag.Report
}

// RenameAdapter writes to the directory dst a copy of the adapter in the directory
// adapter whose names fit the base: with the prefix that PEFT looks for, without
// the adapter's own name, modules where the present version of transformers has
// them. Fields of adapter_config.json that select modules are changed where they
// would select others. The bytes of the tensors stay as they are. The result
// appears whole or not at all.
//
// An adapter whose names cannot be made to fit, or that is wrong in other ways
// only, is a *RefusedError; nothing is then written. Beside names that are mended
// other faults do not keep it from being copied; they are in the Report. A good
// adapter is copied as it is.
func RenameAdapter(ctx context.Context, base *Base, adapter, dst string, o *RenameOptions) (_ *RenameStats, err error) {
	if o == nil {
		o = &RenameOptions{}
	}
	if err := modeldir.Check(dst, false, o.Force, adapter); err != nil {
		return nil, fmt.Errorf("peft: %w", err)
	}
	fsys := os.DirFS(adapter)
	text, c, f, err := openAdapter(fsys)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()

	k := newCheck(&Adapter{c, f.Header().Tensors}, base)
	tensors, infos := renamedTensors(f, k.res.Names)
	stats := &RenameStats{Tensors: len(infos), Renamed: len(k.res.Names), Rules: k.res.Renames}
	if len(k.res.Names) > 0 {
		var changed []byte
		if changed, stats.Fields = renameConfig(c, k.moved()); changed != nil {
			text = changed
			if c, err = ParseConfig(text); err != nil {
				return nil, err
			}
		}
	}
	after := Check(&Adapter{c, infos}, base)
	stats.Report = &after.Report
	if !named(after, k.res) || stats.Renamed == 0 && after.Report.Count(diag.Error) > 0 {
		return nil, &RefusedError{&after.Report}
	}
	dir, err := modeldir.Create(dst, o.Step)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.Abort()) }()
	if err := dir.CopyCompanions(fsys, ".", func(name string) bool { return modeldir.IsCompanion(name) || name == "README.md" }); err != nil {
		return nil, err
	}
	if err := dir.Write(ConfigFile, bytes.NewReader(text)); err != nil {
		return nil, err
	}
	w := &safetensors.WriterOptions{Step: o.Step}
	if err := safetensors.WriteFile(ctx, filepath.Join(dir.Path, WeightsFile), tensors, f.Header().Metadata, w); err != nil {
		return nil, err
	}
	return stats, dir.Publish()
}

func renamedTensors(f *safetensors.File, names map[string]string) ([]safetensors.TensorData, []safetensors.TensorInfo) {
	var tensors []safetensors.TensorData
	var infos []safetensors.TensorInfo
	for name, t := range f.All() {
		info := t.Info()
		if to, ok := names[name]; ok {
			info.Name = to
		}
		infos = append(infos, info)
		tensors = append(tensors, safetensors.TensorData{TensorInfo: info, Data: t.Open()})
	}
	return tensors, infos
}

// named reports whether the names of a copy fit: none of what PEFT would pass over
// is left, and they were held against modules at all.
func named(after, before *Result) bool {
	guessed := len(before.Renames) > 0 && before.Names == nil // of a base known by its tensors only
	return after.Expected && !guessed && !slices.ContainsFunc(after.Report.Problems(), func(p diag.Problem) bool {
		return p.Code == diag.AdapterNames || p.Code == diag.AdapterNameKept || p.Code == diag.AdapterTensorTwice || p.Code == diag.AdapterOtherBase
	})
}
