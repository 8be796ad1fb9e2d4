package safetensors

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/safeckpt/safeckpt/diag"
)

// OpenModel opens the model in the root of fsys: model.safetensors, an index
// with its shards, one of their variants (model.fp16.safetensors), shards without
// an index, or else the only safetensors file there is, unless that is an
// adapter. Symbolic links are followed, as in the snapshots of the Hugging Face
// cache. With os.DirFS the files can be mapped.
//
// An error means that there is no model (it matches ErrNoModel), that several
// could be meant, or that the directory cannot be read. Everything else, missing
// and broken files included, is in the model's Report.
func OpenModel(fsys fs.FS, opts *OpenOptions) (*Model, error) {
	opts = opts.orDefault()
	dir, err := listDir(fsys)
	if err != nil {
		return nil, err
	}
	found, err := dir.find(opts.Stem, opts.Variant)
	if err != nil {
		return nil, err
	}
	m := &Model{report: &diag.Report{}}
	var ix *index
	if found.index != "" {
		ix = readIndex(fsys, found.index, m.report)
	}
	if ix != nil && found.single != "" && !ix.names(found.single) {
		// As transformers 5.23.0 chooses, _get_resolved_checkpoint_files.
		p := diag.New(diag.IndexBesideSingle, "%s lies beside %s, which transformers loads instead", diag.Name(found.index), diag.Name(found.single))
		p.File = found.index
		p.Cause = "the model was saved twice into this directory, sharded and in one file"
		p.Fix = "delete what is older: the index and its shards, or " + diag.Name(found.single)
		m.report.Add(p)
		ix = nil
	}
	var names []string
	switch {
	case ix != nil:
		m.name, m.weightMap, m.metadata, names = found.index, ix.weightMap, ix.metadata, ix.files
	case found.single != "":
		m.name, names = found.single, []string{found.single}
	default:
		m.name, names = found.index, found.shards
	}
	m.open(fsys, names, opts)
	m.check(dir, found)
	return m, nil
}

// ErrNoModel means that a directory holds no safetensors model that OpenModel
// knows by its name. It matches fs.ErrNotExist.
var ErrNoModel = fmt.Errorf("safetensors: no model: %w", fs.ErrNotExist)

// open opens all files, some at a time, and collects their reports and tensors.
func (m *Model) open(fsys fs.FS, names []string, opts *OpenOptions) {
	m.shards = make([]Shard, len(names))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(cmp.Or(max(opts.Concurrency, 0), 8), len(names)) {
		wg.Go(func() {
			for i := range next {
				m.shards[i] = openShard(fsys, names[i], opts)
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	wg.Wait()
	m.tensors = make(map[string]Tensor)
	for i := range m.shards {
		s := &m.shards[i]
		if s.File == nil {
			continue
		}
		for name, t := range s.File.All() {
			if old, dup := m.tensors[name]; dup && m.weightMap[name] == old.f.name {
				continue
			}
			m.tensors[name] = t
		}
	}
}

func openShard(fsys fs.FS, name string, opts *OpenOptions) Shard {
	s := Shard{Name: name}
	s.File, s.Err = OpenFS(fsys, name, opts)
	var refused *FormatError
	switch {
	case s.Err == nil:
		s.Header, s.Size = s.File.Header(), s.File.Size()
	case errors.As(s.Err, &refused):
		s.Header, s.Size = refused.Header, refused.Size
	}
	return s
}

// A dirList is what a directory holds, as far as it matters here.
type dirList struct {
	weights []string // *.safetensors
	indexes []string // *.safetensors.index.json and its variants
	names   map[string]bool
}

func listDir(fsys fs.FS) (*dirList, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, err
	}
	d := &dirList{names: make(map[string]bool)}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() && !strings.HasSuffix(name, ext) || strings.HasPrefix(name, ".") { // such as macOS's ._model.safetensors
			continue
		}
		d.names[name] = true
		switch {
		case strings.HasSuffix(name, ext):
			d.weights = append(d.weights, name)
		case strings.HasSuffix(name, ".json") && strings.Contains(name, indexExt):
			d.indexes = append(d.indexes, name)
		}
	}
	return d, nil
}

const (
	ext      = ".safetensors"
	indexExt = ".safetensors.index"
)

// found says which files make up a model. index and single may both be set.
type found struct {
	index, single string
	shards        []string // named as such, whether an index names them or not
}

func (f found) any() bool { return f.index != "" || f.single != "" || len(f.shards) > 0 }

// find finds the model of a stem, or of any if the stem is "".
func (d *dirList) find(stem, variant string) (found, error) {
	f, err := d.findStem(cmp.Or(stem, "model"), variant)
	if err != nil || f.any() {
		return f, err
	}
	if stem == "" {
		var stems []string
		for _, name := range slices.Concat(d.weights, d.indexes) {
			if s := stemOf(name); !strings.HasPrefix(s, "adapter_model") && !slices.Contains(stems, s) {
				stems = append(stems, s)
			}
		}
		if len(stems) > 1 {
			slices.Sort(stems)
			return f, fmt.Errorf("%w: no model%s, and %d others to choose from, first: %s (set OpenOptions.Stem)",
				ErrNoModel, ext, len(stems), diag.Name(stems[0]))
		}
		if len(stems) == 1 {
			f, err = d.findStem(stems[0], variant)
		}
	}
	if err == nil && !f.any() {
		err = fmt.Errorf("%w: want %s%s or its index", ErrNoModel, diag.Name(cmp.Or(stem, "model")+dotted(variant)), ext)
	}
	return f, err
}

// dotted returns the part of a name that stands for a variant.
func dotted(variant string) string {
	if variant == "" {
		return ""
	}
	return "." + variant
}

// findStem finds the model of a stem, in the wanted variant. Without a wanted one
// it prefers the files that have none, and takes another if there is only one.
// Names as transformers 5.23.0 makes them, _add_variant.
func (d *dirList) findStem(stem, variant string) (found, error) {
	in := func(variant string) (f found) {
		dot := dotted(variant)
		if name := stem + dot + ext; d.names[name] {
			f.single = name
		}
		for _, name := range [...]string{stem + indexExt + dot + ".json", stem + dot + indexExt + ".json"} {
			if d.names[name] {
				f.index = name
			}
		}
		for _, name := range d.weights {
			if s, ok := parseShardName(name); ok && s.stem == stem+dot {
				f.shards = append(f.shards, name)
			}
		}
		return f
	}
	if f := in(variant); f.any() || variant != "" {
		return f, nil
	}
	var variants []string
	for _, name := range slices.Concat(d.weights, d.indexes) {
		rest, ok := strings.CutPrefix(name, stem+".")
		if !ok {
			continue
		}
		if s, ok := parseShardName(rest); ok {
			rest = s.stem + ext
		}
		v := strings.TrimSuffix(rest, ext)
		if strings.HasSuffix(name, ".json") {
			v = strings.TrimPrefix(strings.TrimSuffix(name, ".json"), stem+indexExt+".")
			v = strings.TrimSuffix(strings.TrimPrefix(v, stem+"."), indexExt)
		}
		if !slices.Contains(variants, v) {
			variants = append(variants, v)
		}
	}
	switch len(variants) {
	case 0:
		return found{}, nil
	case 1:
		return in(variants[0]), nil
	}
	slices.Sort(variants)
	return found{}, fmt.Errorf("%w: %s is there in %d variants: %s (set OpenOptions.Variant)",
		ErrNoModel, diag.Name(stem), len(variants), diag.Name(strings.Join(variants, ", ")))
}
