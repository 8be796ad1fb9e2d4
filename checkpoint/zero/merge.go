package zero

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/internal/modeldir"
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
	// Verify first holds the weights, rounded, against the working copy: that in
	// the model file, or in stage 3 the safetensors beside the shards.
	Verify bool
	Force  bool // overwrite what is there; an empty directory needs no force
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

	// Verified is how many trained parameters MergeOptions.Verify held against a
	// working copy, VerifiedWith the files that have it, relative to the source.
	Verified     int
	VerifiedWith []string

	// Report is what the checks of this merge have to say, beside Shards.Report.
	Report *diag.Report
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
	m := &merge{s: s, stats: MergeStats{Report: &diag.Report{}}}
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
	if err := modeldir.Check(dst, file, m.o.Force, s.name); err != nil {
		return nil, fmt.Errorf("zero: %w", err)
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

// writer is what the two writers of safetensors have in common.
type writer interface {
	Tensor(name string) (*safetensors.TensorWriter, error)
	Commit() error
	Abort() error
}

func (m *merge) write(ctx context.Context, dst string, file bool) (err error) {
	opts := safetensors.WriterOptions{Step: m.o.Step}
	if file {
		if err := modeldir.MakeParent(dst, m.o.Step); err != nil {
			return err
		}
		w, err := safetensors.NewWriter(dst, m.infos, m.meta, &opts)
		if err != nil {
			return err
		}
		m.stats.Files = []string{dst}
		return m.fill(ctx, w, w.Tensors())
	}
	dir, err := modeldir.Create(dst, m.o.Step)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Abort()) }()
	err = dir.CopyCompanions(m.s.fsys, m.s.base, func(name string) bool {
		if m.stats.Adapter {
			return modeldir.IsCompanion(name) && name != "config.json" || name == "adapter_config.json"
		}
		return modeldir.IsCompanion(name)
	})
	if err != nil {
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
	w, err := safetensors.NewModelWriter(dir.Path, m.infos, m.meta, &safetensors.ModelWriterOptions{
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
	return dir.Publish()
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
