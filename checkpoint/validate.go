package checkpoint

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/safetensors"
)

// ValidateOptions configures Validate. Nil means defaults.
type ValidateOptions struct {
	// Options is how checkpoints are opened by ValidateAll and Check.
	Options
	// Values also reads the tensors: NaN, infinities, tied copies that differ.
	// Without it only headers and configs are read.
	Values bool
	// RequireConfig makes it an error if the tensors cannot be held against a
	// config.
	RequireConfig bool
	// Strict makes warnings count as errors.
	Strict bool
	// Base is the base model of an adapter: a directory, or a model name that is
	// looked up in the local Hugging Face cache. "" leaves the fit unchecked.
	Base string
	// Progress is called with the bytes read so far and in all, every 4 MiB and at
	// the end, from the goroutine that called Validate; ValidateAll counts each
	// target anew. Only Values reads more than headers.
	Progress func(done, total int64)
}

// A check looks at one thing. It adds problems to v.r.Report and what it learnt
// to v.r; an error means that it could not check.
type check func(v *validation) error

// checks run in this order; later ones may use what earlier ones learnt.
var checks = []check{
	checkKind,
	checkWeights,
	checkShards,
	checkConfig,
	checkAdapters,
	checkTexts,
	checkTrainerState,
	checkTorchFiles,
	checkLeftovers,
	checkValues,
	checkHeld,
	checkResume,
}

type validation struct {
	ctx context.Context
	c   *Checkpoint
	o   *ValidateOptions
	r   *Result

	read   int64                    // bytes, for Progress
	total  int64                    // what read will be
	told   int64                    // read at the last call of Progress
	unheld string                   // why the tensors could not be held against a config
	merged []safetensors.TensorInfo // what ZeRO shards come to, nil if they are not the weights
	copies []hfconfig.Copy          // tied weights that are stored twice
}

func (v *validation) add(problems ...diag.Problem) { v.r.Report.Add(problems...) }

// Validate runs all checks. The error says that it could not check, ctx's own
// error included; what is wrong with the checkpoint is in the result.
func (c *Checkpoint) Validate(ctx context.Context, o *ValidateOptions) (*Result, error) {
	if o == nil {
		o = &ValidateOptions{}
	}
	v := &validation{ctx: ctx, c: c, o: o, r: &Result{
		Report: &diag.Report{},
		Path:   c.name,
		Kind:   c.kind,
		State:  c.state,
		Step:   -1,
		Epoch:  math.NaN(),
		Strict: o.Strict,
	}}
	if o.Values {
		v.total = c.toRead()
	}
	for _, check := range checks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := check(v); err != nil {
			return nil, err
		}
	}
	return v.r, nil
}

// Check validates everything under dir as ValidateAll does and returns nil only
// if all of it is valid. An *InvalidError holds the first result that is not; any
// other error means that it could not check.
//
// Without RequireConfig a checkpoint whose config is of an unknown model type
// passes on its structure alone.
func Check(ctx context.Context, dir string, o *ValidateOptions) error {
	results, err := ValidateAll(ctx, dir, o)
	if err != nil {
		return err
	}
	for _, r := range results {
		if !r.Valid() {
			return &InvalidError{r}
		}
	}
	return nil
}

// ValidateAll validates path and the checkpoints inside it: a file, a checkpoint
// directory, a run with checkpoint-N directories, or a folder of runs. Results
// come in order, the directory's own before those inside it. A folder of runs has
// no result of its own.
func ValidateAll(ctx context.Context, path string, o *ValidateOptions) ([]*Result, error) {
	if o == nil {
		o = &ValidateOptions{}
	}
	dirs, err := Find(path)
	if err != nil {
		return nil, err
	}
	var results []*Result
	for _, dir := range dirs {
		r, err := validateDir(ctx, dir, o)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

func validateDir(ctx context.Context, dir string, o *ValidateOptions) (*Result, error) {
	c, err := Open(ctx, dir, &Options{Registry: o.Registry, Files: o.Files})
	if err != nil {
		return nil, err
	}
	r, err := c.Validate(ctx, o)
	return r, errors.Join(err, c.Close())
}

// Find returns path and the checkpoint-N directories inside it, in step order.
// For a folder of runs it returns the same of each run in it, without the folder.
func Find(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	files, err := list(os.DirFS(path))
	if err != nil {
		return nil, err
	}
	if files.kind() == KindUnknown && !files.hasTrainerFiles() {
		var found []string
		for _, dir := range sortedKeys(files.dirs) {
			sub, err := list(os.DirFS(filepath.Join(path, dir)))
			if errors.Is(err, fs.ErrNotExist) {
				continue // it has gone since
			}
			if err != nil {
				return nil, err
			}
			if sub.kind() != KindUnknown {
				found = append(found, withSteps(filepath.Join(path, dir), sub)...)
			}
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	return withSteps(path, files), nil
}

func withSteps(path string, files *listing) []string {
	found := []string{path}
	for _, step := range files.steps() {
		found = append(found, filepath.Join(path, step))
	}
	return found
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
