package zero

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/internal/atomicfile"
	"github.com/safeckpt/safeckpt/safetensors"
)

// Ties says what becomes of names that share the weight of another.
type Ties string

// The ways. The zero Ties is TiesCopy.
const (
	TiesCopy Ties = "copy" // each name gets the data
	TiesDrop Ties = "drop" // left out, and listed in the metadata as {"name": "kept name"}
)

// MergeOptions configures Merge. Nil means defaults.
type MergeOptions struct {
	// DType is what floating tensors are written as: F32, BF16 or F16, rounded to
	// nearest, ties to even. The zero value means F32. Others stay as they are.
	DType safetensors.DType
	// MaxShardSize is how many bytes go into one file; 0 means one file whatever
	// its size. A lone .safetensors file is never split.
	MaxShardSize  uint64
	ExcludeFrozen bool // leave out parameters that were not trained
	Ties          Ties
	CheckCRC      bool // first hold all files against the checksums in them
	Verify        bool // first hold the weights, rounded, against the working copy
	Force         bool // overwrite what is there
	// Registry knows the model types, to hold the result against config.json; nil
	// means hfconfig.Builtin().
	Registry *hfconfig.Registry
	// Workers is how many goroutines copy; 0 means GOMAXPROCS, at most 8.
	Workers int
	// Progress is called at most ten times a second with the bytes written so far
	// and those of the whole, from the goroutine that called Merge.
	Progress func(done, total int64)
	// Step is called before every operation that changes files; see
	// safetensors.WriterOptions.
	Step func(op, path string) error
}

// MergeStats says what was written.
type MergeStats struct {
	Files   []string // safetensors files, by path
	Tensors int
	Bytes   int64 // of tensors
	Read    int64 // bytes of the ranks' files that were read for them
	Adapter bool  // the result is a PEFT adapter
	Elapsed time.Duration
}

// Merge writes the weights to dst: a file if it ends in .safetensors, else a
// directory with model.safetensors (adapter_model.safetensors if the run trained
// a PEFT adapter), config, generation config and tokenizer. The result appears
// whole or not at all. An existing dst is refused without Force, one inside the
// source always.
//
// What is wrong with the checkpoint, or with the result when it is held against
// config.json, is an *Error; nothing is then written. Other errors are those of
// ctx, of the file systems and of options that cannot be.
func (s *Shards) Merge(ctx context.Context, dst string, o *MergeOptions) (*MergeStats, error) {
	start := time.Now()
	m := &merge{s: s}
	if o != nil {
		m.o = *o
	}
	if m.o.DType == 0 {
		m.o.DType = safetensors.F32
	}
	switch m.o.DType {
	case safetensors.F32, safetensors.BF16, safetensors.F16:
	default:
		return nil, fmt.Errorf("zero: cannot write %v: want F32, BF16 or F16", m.o.DType)
	}
	switch m.o.Ties {
	case "", TiesCopy, TiesDrop:
	default:
		return nil, fmt.Errorf("zero: ties %q: want copy or drop", m.o.Ties)
	}
	file := strings.HasSuffix(dst, ".safetensors")
	if err := s.checkTarget(dst, m.o.Force, file); err != nil {
		return nil, err
	}
	if err := m.choose(file); err != nil {
		return nil, err
	}
	if err := m.checkSources(ctx); err != nil {
		return nil, err
	}
	if err := m.write(ctx, dst, file); err != nil {
		return nil, err
	}
	m.stats.Elapsed = time.Since(start)
	return &m.stats, nil
}

// A merge is one run of Merge.
type merge struct {
	s       *Shards
	o       MergeOptions
	tensors []*tensor // to be written
	infos   []safetensors.TensorInfo
	meta    map[string]string
	stats   MergeStats
}

// checkTarget refuses what must not be written.
func (s *Shards) checkTarget(dst string, force, file bool) error {
	info, err := os.Stat(dst)
	switch {
	case err == nil && !force:
		return fmt.Errorf("zero: %s exists: give another path, or use --force to overwrite it", dst)
	case err == nil && info.IsDir() == file:
		return fmt.Errorf("zero: %s is not a %s", dst, map[bool]string{true: "file", false: "directory"}[file])
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if s.name == "" {
		return nil
	}
	src, err := realPath(s.name)
	if err != nil {
		return err
	}
	out, err := realPath(dst)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(src, out); err == nil && filepath.IsLocal(rel) {
		return fmt.Errorf("zero: %s lies inside %s, which is never written to: give a path outside", dst, s.name)
	}
	return nil
}

// realPath resolves symbolic links in the part of a path that exists.
func realPath(name string) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	rest := ""
	for {
		real, err := filepath.EvalSymlinks(abs)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		parent := filepath.Dir(abs)
		if !errors.Is(err, fs.ErrNotExist) || parent == abs {
			return "", err
		}
		abs, rest = parent, filepath.Join(filepath.Base(abs), rest)
	}
}

// writer is what the two writers of safetensors have in common.
type writer interface {
	Tensor(name string) (*safetensors.TensorWriter, error)
	Commit() error
	Abort() error
}

func (m *merge) write(ctx context.Context, dst string, file bool) (err error) {
	opts := safetensors.WriterOptions{Step: m.o.Step}
	parent := filepath.Dir(filepath.Clean(dst))
	if err := m.step("mkdir", parent, func() error { return os.MkdirAll(parent, 0o777) }); err != nil {
		return err
	}
	if file {
		w, err := safetensors.NewWriter(dst, m.infos, m.meta, &opts)
		if err != nil {
			return err
		}
		m.stats.Files = []string{dst}
		return m.fill(ctx, w, w.Tensors())
	}
	// A new directory is made beside its place under another name.
	dir := dst
	_, statErr := os.Stat(dst)
	fresh := errors.Is(statErr, fs.ErrNotExist)
	if fresh {
		if dir, err = m.tempDir(dst); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, m.step("remove", dir, func() error { return os.RemoveAll(dir) }))
			}
		}()
	}
	if err := m.writeCompanions(dir); err != nil {
		return err
	}
	stem := "model"
	if m.stats.Adapter {
		stem = "adapter_model"
	}
	limit := m.o.MaxShardSize
	if limit == 0 {
		limit = 1<<63 - 1
	}
	w, err := safetensors.NewModelWriter(dir, m.infos, m.meta, &safetensors.ModelWriterOptions{
		WriterOptions: opts, MaxShardSize: limit, Stem: stem, RemoveStale: m.o.Force})
	if err != nil {
		return err
	}
	var order []safetensors.TensorInfo
	for _, name := range w.Files() {
		order = append(order, w.Tensors(name)...)
		m.stats.Files = append(m.stats.Files, filepath.Join(dst, name))
	}
	if err := m.fill(ctx, w, order); err != nil {
		return err
	}
	if !fresh {
		return nil
	}
	if err := m.step("rename", dst, func() error { return os.Rename(dir, dst) }); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(dst), &atomicfile.Options{Step: m.o.Step})
}

// tempDir makes a directory for what will be dst.
func (m *merge) tempDir(dst string) (dir string, err error) {
	dir = atomicfile.TempName(dst)
	return dir, m.step("mkdir", dir, func() error { return os.Mkdir(dir, 0o777) })
}

// fill copies all tensors and puts the result in its place.
func (m *merge) fill(ctx context.Context, w writer, order []safetensors.TensorInfo) error {
	err := m.copyAll(ctx, w, order)
	if err == nil {
		err = w.Commit()
	}
	if err != nil {
		return errors.Join(err, w.Abort())
	}
	return nil
}

func (m *merge) step(op, path string, do func() error) error {
	if m.o.Step != nil {
		if err := m.o.Step(op, path); err != nil {
			return err
		}
	}
	return do()
}
