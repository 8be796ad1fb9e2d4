package zero

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/torchzip"
	"github.com/safeckpt/safeckpt/safetensors"
)

// Options configures Open. Nil means defaults.
type Options struct {
	// Tag is the directory of the step to take, such as global_step500; "" means
	// what the file latest says.
	Tag string
}

// Shards is a checkpoint of ZeRO or FSDP whose files have been read and found to belong
// together. It holds no open file; any number of goroutines may use it.
type Shards struct {
	Tag       string // the tag directory, relative to what was opened
	Stage     int    // of ZeRO: 1, 2 or 3; 0 if a universal checkpoint does not say
	Ranks     int    // data-parallel ranks
	Step      int64  // global_steps of the model file, -1 if not known
	Universal bool   // converted by ds_to_universal
	FSDP      bool   // a distributed checkpoint of torch, not of DeepSpeed

	fsys    fs.FS
	name    string // path of the opened directory, "" if an fs.FS was opened
	base    string // directory of config.json and its like, relative to fsys
	files   []source
	report  *diag.Report
	tensors []*tensor
	experts int64              // tensors of experts that the ranks have
	working map[string]*tensor // of the model file, by name: nil in stage 3
}

// A source is a file that tensors are read from.
type source struct {
	name     string // relative to fsys
	info     fs.FileInfo
	archives []torchzip.Span // of torch.save: the whole file, or the items in it
}

// Error says that a checkpoint cannot be merged. errors.Is finds each code of its
// problems.
type Error struct{ Report *diag.Report }

func (e *Error) Error() string { return e.Report.Summary() }

// Is reports whether target is the code of one of the problems.
func (e *Error) Is(target error) bool {
	c, ok := target.(diag.Code)
	return ok && e.Report.Has(c)
}

// Open opens a directory that DeepSpeed or FSDP wrote: the one with the file latest, a tag
// directory in it, or an output directory of the Trainer, of which the newest
// checkpoint-N is taken. It reads the pickles of all ranks, no tensors. What is
// wrong with the checkpoint is an *Error with all that was found; other errors are
// those of ctx and the file system.
func Open(ctx context.Context, dir string, o *Options) (*Shards, error) {
	if o == nil || o.Tag == "" {
		l, err := listTag(os.DirFS(dir), ".")
		if err != nil {
			return nil, err
		}
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		if parent := filepath.Dir(abs); l.any() && parent != abs { // config.json lies beside the tag directory
			dir, o = parent, &Options{Tag: filepath.Base(abs)}
		}
	}
	return open(ctx, os.DirFS(dir), dir, o)
}

// OpenFS is Open for a file system. Its files must be io.ReaderAts.
func OpenFS(ctx context.Context, fsys fs.FS, o *Options) (*Shards, error) {
	return open(ctx, fsys, "", o)
}

func open(ctx context.Context, fsys fs.FS, name string, o *Options) (*Shards, error) {
	if o == nil {
		o = &Options{}
	}
	s := &Shards{fsys: fsys, name: name, Step: -1, report: &diag.Report{}}
	err := s.read(ctx, o.Tag)
	if err != nil && !errors.Is(err, errRefused) {
		return nil, err
	}
	if err != nil || s.report.Count(diag.Error) > 0 {
		return nil, &Error{s.report}
	}
	return s, nil
}

// Report returns what is worth knowing of a checkpoint that can be merged.
func (s *Shards) Report() *diag.Report { return s.report }

// IsAdapter reports whether the names are those of a model under PEFT.
func (s *Shards) IsAdapter() bool {
	return slices.ContainsFunc(s.tensors, func(t *tensor) bool { return strings.HasPrefix(t.name, "base_model.model.") })
}

// errRefused ends the reading of a checkpoint; why is in the report.
var errRefused = errors.New("refused")

func (s *Shards) refuse(p diag.Problem) error {
	s.report.Add(p)
	return errRefused
}

// failed reports whether anything wrong has been found.
func (s *Shards) failed() bool { return s.report.Count(diag.Error) > 0 }

// read is the way from files to a plan.
func (s *Shards) read(ctx context.Context, tag string) error {
	if tag == "" {
		dir, err := s.findFSDP()
		if err != nil {
			return err
		}
		if dir != "" {
			return s.readFSDP(ctx, dir)
		}
	}
	l, err := s.locate(tag)
	if err != nil {
		return err
	}
	parts, err := s.readParts(ctx, l)
	if err != nil {
		return err
	}
	if s.failed() {
		return errRefused
	}
	plan := newPlan()
	for _, p := range parts {
		switch {
		case s.Universal:
			err = s.planUniversal(ctx, plan, p)
		case s.Stage == 3:
			err = s.planStage3(plan, p)
		default:
			err = s.planStage12(plan, p)
		}
		if err != nil {
			return err
		}
	}
	if err := s.planExperts(ctx, plan, l); err != nil {
		return err
	}
	if err := s.planLayers(ctx, plan, l); err != nil {
		return err
	}
	if s.failed() {
		return errRefused
	}
	for _, p := range parts {
		s.planAliases(plan, p)
	}
	s.tensors = plan.list
	s.dropPrefix(slices.ContainsFunc(parts, func(p *part) bool { return p.model().lightning }))
	s.notes()
	return nil
}

// Tensors returns what Merge writes by default, in the order in which DeepSpeed's
// script lists them. Begin and End count bytes as if they lay end to end. The error
// is that of a tensor whose dtype safetensors does not have.
func (s *Shards) Tensors() ([]safetensors.TensorInfo, error) {
	m := merge{s: s, o: MergeOptions{DType: safetensors.F32}}
	infos := make([]safetensors.TensorInfo, 0, len(s.tensors))
	at := uint64(0)
	for _, t := range s.tensors {
		info, err := m.info(t)
		if err != nil {
			return nil, err
		}
		info.Begin = at
		at += uint64(t.numel) * uint64(info.DType.Bits()) / 8
		info.End = at
		infos = append(infos, info)
	}
	return infos, nil
}
