package safetensors

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/atomicfile"
)

// DefaultMaxShardSize is the size above which save_pretrained of transformers 5
// splits a model, in bytes of tensor data.
const DefaultMaxShardSize = 50_000_000_000

// ModelWriterOptions are the ways to write a model; nil means the defaults.
type ModelWriterOptions struct {
	WriterOptions

	// MaxShardSize is how many bytes of tensor data go into one file; 0 means
	// DefaultMaxShardSize. A larger tensor gets a file of its own.
	MaxShardSize uint64
	// WeightMap names the file of every tensor, to keep the sharding of a model
	// that exists; nil splits by MaxShardSize.
	WeightMap map[string]string
	// Stem is what the file names begin with; "" means "model".
	Stem string
	// Variant, such as "fp16", is put into the file names: model.fp16.safetensors.
	Variant string
	// Parameters is the total_parameters of the index, where that is not the
	// number of elements of all tensors: packed weights, buffers.
	Parameters uint64
	// RemoveStale removes the files of an earlier save that the new model does not
	// replace, once it is in place. Without it such files are an error, because
	// loaders may take them for the model.
	RemoveStale bool
}

// A ModelWriter writes the tensors of one model: to one file if they fit, else to
// shards and an index, as save_pretrained does. See Writer for how data is given
// and which goroutines may write.
type ModelWriter struct {
	dir     string
	opts    ModelWriterOptions
	names   []string           // of the files, in the order of the shards
	files   map[string]*Writer // by name
	tensors map[string]*Writer // by the tensor's name
	index   *atomicfile.File   // nil if there is one file
	indexAt string             // the index's name in the directory
	stale   []string
}

// NewModelWriter starts to write a model into dir, which must exist. Tensors are
// split in the order that they are given, by the greedy rule of huggingface_hub;
// within a file they are laid out as NewWriter does. metadata goes into the
// header of every file; transformers expects {"format": "pt"}.
//
// The whole set appears with Commit: the files are completed under temporary
// names and then renamed, the index last. A directory cannot be replaced at
// once: where new shards have the names of old ones, the old index is removed
// first, so that a crash in between leaves a model that is missing, not a mix.
func NewModelWriter(dir string, tensors []TensorInfo, metadata map[string]string, opts *ModelWriterOptions) (*ModelWriter, error) {
	m := &ModelWriter{dir: dir, files: make(map[string]*Writer), tensors: make(map[string]*Writer, len(tensors))}
	if opts != nil {
		m.opts = *opts
	}
	err := m.create(tensors, metadata)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("safetensors: writing a model to %s: %w", dir, err), m.Abort())
	}
	return m, nil
}

func (m *ModelWriter) create(tensors []TensorInfo, metadata map[string]string) error {
	// A copy: it is given sizes here, and checked as a whole, because a name must
	// not come twice in different files either.
	tensors = slices.Clone(tensors)
	if _, err := place(tensors); err != nil {
		return err
	}
	names := newModelNames(m.opts.Stem, m.opts.Variant)
	m.indexAt = names.index
	shards, err := m.split(tensors, names)
	if err != nil {
		return err
	}
	for _, s := range shards {
		m.names = append(m.names, s.name)
	}
	sharded := len(shards) > 1 || m.names[0] != names.single
	keep := m.names
	if sharded {
		keep = append(slices.Clip(keep), names.index)
	}
	if m.stale, err = names.stale(m.dir, keep); err != nil {
		return err
	}
	if len(m.stale) > 0 && !m.opts.RemoveStale {
		return fmt.Errorf("%s of an earlier save would stay beside the new ones, first: %s (remove them, set RemoveStale or write to another directory)",
			diag.Count(len(m.stale), "file"), diag.Name(m.stale[0]))
	}
	for _, s := range shards {
		w, err := NewWriter(filepath.Join(m.dir, s.name), s.tensors, metadata, &m.opts.WriterOptions)
		if err != nil {
			return err
		}
		m.files[s.name] = w
		for i := range s.tensors {
			m.tensors[s.tensors[i].Name] = w
		}
	}
	if !sharded {
		return nil
	}
	if m.index, err = atomicfile.Create(filepath.Join(m.dir, names.index), m.opts.atomic()); err != nil {
		return err
	}
	_, err = m.index.Write(appendIndex(nil, shards, m.opts.Parameters))
	return err
}

// Files returns the names of the files in dir, without the index, in the order
// of their numbers. The slice must not be modified.
func (m *ModelWriter) Files() []string { return m.names }

// Tensors returns the tensors of one of Files, as Writer.Tensors does. Data that
// comes file by file in this order is written sequentially.
func (m *ModelWriter) Tensors(file string) []TensorInfo {
	w, ok := m.files[file]
	if !ok {
		return nil
	}
	return w.Tensors()
}

// Stale returns the files of an earlier save that Commit removes at the end.
func (m *ModelWriter) Stale() []string { return m.stale }

// Tensor returns the tensor of that name, to be written. It returns the same
// value every time.
func (m *ModelWriter) Tensor(name string) (*TensorWriter, error) {
	w, ok := m.tensors[name]
	if !ok {
		return nil, fmt.Errorf("safetensors: writing a model to %s: there is no tensor %s", m.dir, diag.Name(name))
	}
	return w.Tensor(name)
}

// Commit makes all files durable and puts them in their places. It fails, and
// can be called again, while any byte of a tensor has not been written.
func (m *ModelWriter) Commit() error {
	for _, name := range m.names {
		if err := m.files[name].complete(); err != nil {
			return err
		}
	}
	if err := m.publish(); err != nil {
		return fmt.Errorf("safetensors: writing a model to %s: %w", m.dir, err)
	}
	return nil
}

func (m *ModelWriter) publish() error {
	// All that takes long or needs space comes before anything is replaced.
	overwrites := false
	for _, name := range m.names {
		if err := m.files[name].file.Sync(); err != nil {
			return err
		}
		_, err := os.Lstat(filepath.Join(m.dir, name))
		overwrites = overwrites || err == nil
	}
	if m.index != nil {
		if err := m.index.Sync(); err != nil {
			return err
		}
		if overwrites {
			if err := m.remove(m.indexAt); err != nil {
				return err
			}
		}
	}
	for _, name := range m.names {
		if err := m.files[name].file.Publish(); err != nil {
			return err
		}
	}
	if err := m.syncDir(); err != nil {
		return err
	}
	if m.index != nil {
		if err := m.index.Commit(); err != nil {
			return err
		}
	}
	if len(m.stale) == 0 {
		return nil
	}
	return m.remove(m.stale...)
}

// remove removes files that may not exist, in order.
func (m *ModelWriter) remove(names ...string) error {
	for _, name := range names {
		err := atomicfile.Remove(filepath.Join(m.dir, name), m.opts.atomic())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return m.syncDir()
}

func (m *ModelWriter) syncDir() error { return atomicfile.SyncDir(m.dir, m.opts.atomic()) }

// Abort removes the temporary files. What Commit has put in place stays, so it
// can be deferred.
func (m *ModelWriter) Abort() error {
	var errs []error
	for _, w := range m.files {
		errs = append(errs, w.Abort())
	}
	if m.index != nil {
		errs = append(errs, m.index.Abort())
	}
	return errors.Join(errs...)
}

// A shard is one file that will be.
type shard struct {
	name    string
	tensors []TensorInfo
}

// split assigns tensors, whose sizes are set, to files.
func (m *ModelWriter) split(tensors []TensorInfo, names modelNames) ([]shard, error) {
	if m.opts.WeightMap != nil {
		return splitByMap(tensors, m.opts.WeightMap)
	}
	shards := splitBySize(tensors, cmp.Or(m.opts.MaxShardSize, DefaultMaxShardSize))
	if len(shards) == 1 {
		shards[0].name = names.single
		return shards, nil
	}
	for i := range shards {
		shards[i].name = fmt.Sprintf(names.shard, i+1, len(shards))
	}
	return shards, nil
}

// splitBySize is the greedy rule of huggingface_hub 2.4.0, serialization/_base.py,
// split_state_dict_into_shards_factory: a tensor over the limit becomes a file at
// once, before the one that is being filled, so files are not in tensor order. No
// tensors at all make one file.
func splitBySize(tensors []TensorInfo, limit uint64) []shard {
	var shards []shard
	var current []TensorInfo
	size := uint64(0)
	for _, t := range tensors {
		n := t.Bytes()
		if n > limit {
			shards = append(shards, shard{tensors: []TensorInfo{t}})
			continue
		}
		if n > limit-size {
			shards = append(shards, shard{tensors: current})
			current, size = nil, 0
		}
		current = append(current, t)
		size += n
	}
	if len(current) > 0 || len(shards) == 0 {
		shards = append(shards, shard{tensors: current})
	}
	return shards
}

// splitByMap follows a weight map; files come in the order of their names.
func splitByMap(tensors []TensorInfo, weightMap map[string]string) ([]shard, error) {
	byName := make(map[string][]TensorInfo)
	for _, t := range tensors {
		name, ok := weightMap[t.Name]
		switch {
		case !ok:
			return nil, fmt.Errorf("the weight map names no file for tensor %s", diag.Name(t.Name))
		case filepath.Base(name) != name || filepath.Ext(name) != ".safetensors" || !filepath.IsLocal(name):
			return nil, fmt.Errorf("the weight map puts tensor %s into %s, which is no plain name of a .safetensors file",
				diag.Name(t.Name), diag.Name(name))
		}
		byName[name] = append(byName[name], t)
	}
	var shards []shard
	for name, t := range byName {
		shards = append(shards, shard{name, t})
	}
	slices.SortFunc(shards, func(a, b shard) int { return cmp.Compare(a.name, b.name) })
	if len(shards) == 0 {
		return nil, errors.New("a weight map, but no tensors")
	}
	return shards, nil
}
