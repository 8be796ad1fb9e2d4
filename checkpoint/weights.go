package checkpoint

import (
	"errors"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/regular"
	"github.com/safeckpt/safeckpt/safetensors"
)

// weights is one safetensors file outside of a model: an adapter's or a lone
// file.
type weights struct {
	name   string
	file   *safetensors.File   // nil if it was refused or cannot be read
	header *safetensors.Header // what could be decoded, nil if nothing
	report *diag.Report
}

// openWeights opens a file, or tells why it cannot.
func openWeights(fsys fs.FS, name string, o *safetensors.OpenOptions) *weights {
	w := &weights{name: name}
	f, err := safetensors.OpenFS(fsys, name, o)
	var refused *safetensors.FormatError
	switch {
	case err == nil:
		w.file, w.header, w.report = f, f.Header(), f.Report()
	case errors.As(err, &refused):
		w.header, w.report = refused.Header, refused.Report
	default:
		w.report = &diag.Report{}
		w.report.Add(unreadable(name, err))
	}
	return w
}

func (w *weights) close() error {
	if w == nil || w.file == nil {
		return nil
	}
	return w.file.Close()
}

// unreadable tells an error of the file system.
func unreadable(name string, err error) diag.Problem {
	if p, ok := regular.Problem(name, err); ok {
		return p
	}
	p := diag.New(diag.FileUnreadable, "cannot be read: %s", plainError(err))
	p.File, p.Got = name, plainError(err)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		p.Cause, p.Fix = "missing permissions, or a symlink that points nowhere", "look at it with: ls -lL "+diag.Name(name)
	}
	return p
}

// notAFile adds the problem of something that is no file, and says whether err was
// of that.
func (v *validation) notAFile(name string, err error) bool {
	p, ok := regular.Problem(name, err)
	if ok {
		v.add(p)
	}
	return ok
}

// plainError leaves out the path, which the problem names, and which may hold
// anything.
func plainError(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return err.Error()
}

func openLone(name string, o *Options) (*Checkpoint, error) {
	c := &Checkpoint{name: o.Name, registry: o.Registry, kind: KindFile, state: StateNone}
	c.config = c.readConfig
	dir, base := filepath.Split(name)
	if dir == "" {
		dir = "."
	}
	c.file = openWeights(os.DirFS(dir), base, o.Files)
	return c, nil
}

// checkWeights takes over what opening the files has found, and counts tensors.
func checkWeights(v *validation) error {
	c := v.c
	switch {
	case c.file != nil:
		v.r.Report.Merge("", c.file.report)
		v.count(c.file.header)
	case c.model != nil:
		v.r.Report.Merge("", c.model.Report())
		for _, s := range c.model.Files() {
			v.count(s.Header)
		}
	case errors.Is(c.modelErr, safetensors.ErrNoModel):
		p := diag.New(diag.ModelAmbiguous, "of %s here none is named as a model's: %s", diag.Count(len(c.files.safetensors()), "safetensors file"), strings.Join(diag.Templates(c.files.safetensors()), ", "))
		p.Want = "model.safetensors, or an index and its shards"
		p.Cause = "they are models of their own, or shards that lost their index"
		p.Fix = "verify the files one by one; rename the model's to model.safetensors"
		v.add(p)
	case c.modelErr != nil:
		v.add(unreadable(".", c.modelErr))
	case c.kind == KindFull && len(c.files.match(binFile)) == 0:
		p := diag.New(diag.WeightsMissing, "config.json is here, but no model.safetensors, no index and no shard")
		p.Want = "model.safetensors, or model.safetensors.index.json and its shards"
		p.Cause = "the save was killed, only the small files were copied, or the clone has no large files"
		p.Fix = "copy or download the weights; after a git clone: git lfs pull"
		v.add(p)
	}
	if c.files == nil {
		return nil
	}
	for _, name := range c.files.match(binFile) {
		p := diag.New(diag.FormatNotChecked, "%s holds pickled weights, which are not checked", diag.Name(name))
		p.File, p.Want = name, "safetensors"
		p.Cause = "saved by transformers before 5 with save_safetensors=False, or by another tool"
		p.Fix = "load it where it is trusted and save it again: model.save_pretrained(DIR) writes safetensors"
		if c.model == nil {
			p.Severity = diag.Error // there is nothing else that could be called valid
		}
		v.add(p)
	}
	return nil
}

func (v *validation) count(h *safetensors.Header) {
	if h == nil {
		return
	}
	for i := range h.Tensors {
		v.r.Tensors++
		v.r.Parameters = addSaturated(v.r.Parameters, elements(h.Tensors[i].Shape))
		if h.Tensors[i].End >= h.Tensors[i].Begin {
			v.r.Bytes = addSaturated(v.r.Bytes, h.Tensors[i].Bytes())
		}
	}
}

// elements counts as TensorInfo.Elements does, for headers of files that were
// refused, which may overflow.
func elements(shape []uint64) uint64 {
	n := uint64(1)
	for _, d := range shape {
		hi, lo := bits.Mul64(n, d)
		if n = lo; hi != 0 {
			return math.MaxUint64
		}
	}
	return n
}

func addSaturated(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return math.MaxUint64
	}
	return sum
}
