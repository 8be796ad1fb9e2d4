package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/internal/regular"
	"github.com/safeckpt/safeckpt/safetensors"
)

// Options configures Open. Nil means defaults.
type Options struct {
	// Name is what results call the target; Open uses the path it was given. If it
	// ends in checkpoint-N, OpenFS takes that for the directory's name.
	Name string
	// Registry knows the model types; nil means hfconfig.Builtin().
	Registry *hfconfig.Registry
	// Files is how safetensors files are opened; nil means defaults.
	Files *safetensors.OpenOptions
	// TrainingArgs is what training_args.bin says, if that is known; nil means that
	// it is read where it matters.
	TrainingArgs *TrainingArgs
}

// A Checkpoint is a directory that has been opened: its files listed, headers
// read. Nothing of that is read again later. It must be closed; any
// number of goroutines may validate it at once.
type Checkpoint struct {
	name     string
	dir      string   // the directory's own name, "" if unknown
	fsys     fs.FS    // the directory; nil for a lone file
	files    *listing // what is in it
	parent   string   // path of the directory that it lies in, "" if unknown
	registry *hfconfig.Registry

	kind  Kind
	state State

	model    *safetensors.Model               // full weights; nil if there are none
	modelErr error                            // why there are none although files are there
	file     *weights                         // of KindFile
	config   func() (*hfconfig.Config, error) // reads config.json, once
	adapters []*adapter

	args       *TrainingArgs // nil: not read yet
	trainer    *TrainerState
	trainerErr error
	torch      map[string]error // archives beside the weights, and what is wrong with them
}

// Open opens a checkpoint directory, or a single file. It fails only if dir
// cannot be looked at; whatever is wrong inside is for Validate to say.
func Open(ctx context.Context, dir string, o *Options) (*Checkpoint, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	o = o.orDefaults(dir)
	if !info.IsDir() {
		return openLone(dir, o)
	}
	c, err := openDir(ctx, os.DirFS(dir), o)
	if err != nil {
		return nil, err
	}
	if abs, err := filepath.Abs(dir); err == nil {
		c.dir = filepath.Base(abs)
		c.parent = filepath.Dir(abs)
	}
	return c, nil
}

// OpenFS opens the checkpoint at the root of fsys. Tensors can be mapped only if
// its files are those of the operating system, as with os.DirFS.
func OpenFS(ctx context.Context, fsys fs.FS, o *Options) (*Checkpoint, error) {
	o = o.orDefaults(".")
	c, err := openDir(ctx, fsys, o)
	if err != nil {
		return nil, err
	}
	c.dir = path.Base(filepath.ToSlash(o.Name))
	return c, nil
}

func (o *Options) orDefaults(name string) *Options {
	d := Options{}
	if o != nil {
		d = *o
	}
	if d.Name == "" {
		d.Name = name
	}
	if d.Registry == nil {
		d.Registry = hfconfig.Builtin()
	}
	return &d
}

func openDir(ctx context.Context, fsys fs.FS, o *Options) (*Checkpoint, error) {
	files, err := list(fsys)
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{name: o.Name, fsys: fsys, files: files, registry: o.Registry, args: o.TrainingArgs, kind: files.kind()}
	c.config = sync.OnceValues(c.readConfig)
	for _, read := range []func(){
		func() {
			if c.kind == KindFull && len(files.safetensors()) > 0 {
				c.model, c.modelErr = safetensors.OpenModel(listedFS{fsys, files.entries}, o.Files)
			}
		},
		func() { c.openAdapters(o) },
		c.readTrainerState,
		func() { c.readTorchFiles(ctx) },
		func() { c.state = c.findState(ctx) },
	} {
		if ctx.Err() == nil {
			read()
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Name returns what the checkpoint is called in results.
func (c *Checkpoint) Name() string { return c.name }

// Kind returns what holds the weights.
func (c *Checkpoint) Kind() Kind { return c.kind }

// State returns what training state there is.
func (c *Checkpoint) State() State { return c.state }

// Model returns the full model's tensors, or nil if there are none that can be
// opened. It is the checkpoint's own and closed with it.
func (c *Checkpoint) Model() *safetensors.Model { return c.model }

// Config returns the parsed config.json, or nil.
func (c *Checkpoint) Config() *hfconfig.Config {
	config, _ := c.config()
	return config
}

// TrainerState returns what trainer_state.json says, or nil.
func (c *Checkpoint) TrainerState() *TrainerState { return c.trainer }

// Steps returns the checkpoint-N directories inside, in step order.
func (c *Checkpoint) Steps() []string {
	if c.files == nil {
		return nil
	}
	return c.files.steps()
}

// Close closes all files. Bytes that were borrowed from tensors die with it.
func (c *Checkpoint) Close() error {
	var errs []error
	if c.model != nil {
		errs = append(errs, c.model.Close())
	}
	for _, a := range c.adapters {
		errs = append(errs, a.close())
	}
	if c.file != nil {
		errs = append(errs, c.file.close())
	}
	return errors.Join(errs...)
}

// maxText bounds the text files that are read whole.
const maxText = 256 << 20

// openRegular opens a file that has bytes: opening a named pipe would wait for a
// writer.
func openRegular(fsys fs.FS, name string) (fs.File, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if err := regular.Check(name, info); err != nil {
		return nil, err
	}
	return fsys.Open(name)
}

// readText reads a text file of the checkpoint. The error is fs.ErrNotExist if
// there is none.
func (c *Checkpoint) readText(name string) ([]byte, error) {
	f, err := openRegular(c.fsys, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(text) > maxText {
		err = fmt.Errorf("more than %s of text", diag.Size(maxText))
	}
	return text, err
}

// readConfig returns nil and no error if there is no config.json.
func (c *Checkpoint) readConfig() (*hfconfig.Config, error) {
	if c.files == nil {
		return nil, nil
	}
	text, err := c.readText(configFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return hfconfig.Parse(text)
}

func (c *Checkpoint) readTrainerState() {
	text, err := c.readText(trainerStateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		c.trainer, err = ParseTrainerState(text)
	}
	c.trainerErr = err
}

func (c *Checkpoint) findState(ctx context.Context) State {
	switch {
	case len(c.files.zeroDirs()) > 0:
		return c.zeroStage(ctx)
	case c.files.fsdp():
		return StateFSDP
	case c.files.hasTrainerFiles():
		return StateTrainer
	}
	return StateNone
}
