package peft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"time"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/internal/modeldir"
	"github.com/safeckpt/safeckpt/internal/regular"
	"github.com/safeckpt/safeckpt/safetensors"
)

// MergeOptions configures Merge. Nil means defaults.
type MergeOptions struct {
	// Safe rounds as PEFT does with safe_merge=True: what is added is rounded to the
	// dtype of the base before it is added. In bfloat16 and float16 the results are
	// other ones. (That a result is finite is always checked.)
	Safe bool
	// MaxShardSize splits the result anew, into files of at most so many bytes of
	// tensors; 0 keeps the sharding of the base.
	MaxShardSize uint64
	Force        bool // overwrite what is there
	// Registry knows the model types; nil means hfconfig.Builtin().
	Registry *hfconfig.Registry
	// Workers is how many goroutines compute and copy; 0 means GOMAXPROCS, at most 8.
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
	Changed int   // tensors that are not those of the base
	Bytes   int64 // of tensors
	Elapsed time.Duration
	// Report holds the warnings and notes on the adapter and its fit to the base.
	Report *diag.Report
}

// Merge writes to the directory dst the model that PEFT's from_pretrained,
// merge_and_unload and save_pretrained make of the directories base and adapter:
// the same bits, tensor by tensor, in the base's sharding and with its config and
// tokenizer. Tensors that the adapter does not change are copied byte by byte.
// Memory does not grow with the model, only with the largest module's A and B. The
// result appears whole or not at all.
//
// What Check finds, and what cannot be merged exactly, is a *RefusedError; nothing
// is then written. Other errors are those of ctx, of the file systems, and of
// options that cannot be.
//
// The arithmetic is that of peft 0.21.2 and torch 2.15 on a CPU with AVX2: each
// element of B*A is one float32 that is added to by fused multiply-add, rank by
// rank. Very small or odd shapes, for which torch takes other routes, can differ
// in the last bit of float32.
func Merge(ctx context.Context, base, adapter, dst string, o *MergeOptions) (*MergeStats, error) {
	return merge(ctx, source{os.DirFS(base), base}, source{os.DirFS(adapter), adapter}, dst, o)
}

// MergeFS is Merge for file systems.
func MergeFS(ctx context.Context, base, adapter fs.FS, dst string, o *MergeOptions) (*MergeStats, error) {
	return merge(ctx, source{fsys: base}, source{fsys: adapter}, dst, o)
}

// A source is a directory that is read.
type source struct {
	fsys fs.FS
	name string // its path, "" if it has none
}

func merge(ctx context.Context, base, adapter source, dst string, o *MergeOptions) (_ *MergeStats, err error) {
	start := time.Now()
	if o == nil {
		o = &MergeOptions{}
	}
	if err := modeldir.Check(dst, false, o.Force, base.name, adapter.name); err != nil {
		return nil, fmt.Errorf("peft: %w", err)
	}
	in, err := openMerge(ctx, base, adapter, o)
	if in != nil {
		defer func() { err = errors.Join(err, in.close()) }()
	}
	if err != nil {
		return nil, err
	}
	plan, err := newMergePlan(in, o)
	if err != nil {
		return nil, err
	}
	run := &mergeRun{mergePlan: plan, o: o, stats: MergeStats{Report: &diag.Report{}}}
	if err := run.write(ctx, dst); err != nil {
		return nil, err
	}
	run.stats.Report.Merge("", &in.report)
	run.stats.Elapsed = time.Since(start)
	return &run.stats, nil
}

// A mergeInput is a base and an adapter that have been held against each other.
type mergeInput struct {
	base    fs.FS
	text    []byte // config.json of the base, nil if there is none
	model   *safetensors.Model
	adapter *safetensors.File
	check   *check
	report  diag.Report
}

func (in *mergeInput) close() (err error) {
	if in.model != nil {
		err = in.model.Close()
	}
	if in.adapter != nil {
		err = errors.Join(err, in.adapter.Close())
	}
	return err
}

// openMerge opens base and adapter. The input is to be closed even after an error.
func openMerge(ctx context.Context, base, adapter source, o *MergeOptions) (*mergeInput, error) {
	in := &mergeInput{base: base.fsys}
	_, config, f, err := openAdapter(adapter.fsys)
	if err != nil {
		return in, err
	}
	in.adapter = f
	if in.model, err = safetensors.OpenModel(base.fsys, &safetensors.OpenOptions{ReadOnce: true}); errors.Is(err, safetensors.ErrNoModel) {
		return in, refused(noBase(base.fsys))
	} else if err != nil {
		return in, fmt.Errorf("peft: base: %w", err)
	}
	if err := in.refuse(in.model.Report()); err != nil {
		return in, err
	}
	b, err := in.openBase(base, o)
	if err != nil {
		return in, err
	}
	in.check = newCheck(&Adapter{Config: config, Tensors: in.adapter.Header().Tensors}, b)
	if err := in.refuse(&in.check.res.Report); err != nil {
		return in, err
	}
	values, err := CheckValues(ctx, config, in.adapter.All())
	if err != nil {
		return in, err
	}
	return in, in.refuse(values)
}

// refuse keeps a report for the result, or returns it as the error.
func (in *mergeInput) refuse(r *diag.Report) error {
	in.report.Merge("", r)
	if r.Count(diag.Error) > 0 {
		return &RefusedError{&in.report}
	}
	return nil
}

// openAdapter opens an adapter's directory. One that is no adapter's is a
// *RefusedError, as are config and weights that cannot be used.
func openAdapter(fsys fs.FS) (text []byte, c *Config, f *safetensors.File, err error) {
	if _, err := fs.Stat(fsys, "."); err != nil {
		return nil, nil, nil, fmt.Errorf("peft: adapter: %w", err)
	}
	if p, ok := Absent(fsys); ok {
		return nil, nil, nil, refused(p)
	}
	if text, err = readSmall(fsys, ConfigFile); err == nil {
		if c, err = ParseConfig(text); err == nil {
			f, err = safetensors.OpenFS(fsys, WeightsFile, nil)
		}
	}
	var badConfig *ConfigError
	var badFile *safetensors.FormatError
	switch {
	case errors.As(err, &badConfig):
		err = refused(badConfig.Problem)
	case errors.As(err, &badFile):
		err = &RefusedError{badFile.Report}
	case err != nil:
		err = fmt.Errorf("peft: adapter: %w", err)
	}
	return text, c, f, err
}

// maxSmall bounds the JSON files that are read whole, in bytes.
const maxSmall = 16 << 20

func readSmall(fsys fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err == nil {
		err = regular.Check(name, info)
	}
	if err != nil {
		return nil, err
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSmall+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(text) > maxSmall {
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxSmall)
	}
	return text, nil
}

// openBase says which modules the base has. A quantized one is refused.
func (in *mergeInput) openBase(base source, o *MergeOptions) (*Base, error) {
	text, err := readSmall(base.fsys, "config.json")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("peft: base: %w", err)
	}
	if err == nil {
		config, err := hfconfig.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("peft: base: %w", err)
		}
		if q := config.Quantization(); q != "" {
			p := diag.New(diag.AdapterNotMerged, "the base is quantized (%s): PEFT would add to weights that were rounded to few bits", diag.Name(q))
			p.File, p.Want, p.Got = "config.json", "float weights", "quantization_config "+diag.Name(q)
			p.Cause = "adapters are trained on quantized bases to save memory, and merged into the original ones"
			p.Fix = "give the model that the base was quantized from as --base"
			in.report.Add(p)
			return nil, &RefusedError{&in.report}
		}
		in.text = text
	}
	return OpenBase(base.fsys, o.Registry)
}

func (in *mergeInput) infos() iter.Seq[*safetensors.TensorInfo] {
	return func(yield func(*safetensors.TensorInfo) bool) {
		for _, info := range in.model.Infos() {
			if !yield(info) {
				return
			}
		}
	}
}
