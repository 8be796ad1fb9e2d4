package checkpoint

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/safeckpt/safeckpt/internal/pickle"
	"github.com/safeckpt/safeckpt/internal/regular"
)

// TrainingArgs is what training_args.bin says of how a run saves. The file is a
// pickle of transformers' TrainingArguments or a subclass of it, which is read
// without running anything. Field names are those of transformers 5.23.0
// training_args.py; what the file lacks is the zero value.
type TrainingArgs struct {
	OutputDir          string  // as the run was given it, relative or absolute
	SaveStrategy       string  // "no", "steps", "epoch", "best"
	SaveSteps          float64 // below 1 a ratio of all steps
	SaveTotalLimit     int     // 0: keep all
	SaveOnlyModel      bool
	LoadBestModelAtEnd bool
	Metric             string // metric_for_best_model, "" if none
	GreaterIsBetter    bool
	Optim              string // "adamw_torch_fused"
	FP16, BF16         bool
	MaxSteps           int    // -1: by epochs
	DeepSpeed          string // path of its config, "inline" for a dict, "" if not used
	FSDP               bool
	// V4 says that a transformers before 5 wrote the file.
	V4 bool
}

// ReadTrainingArgs reads the training_args.bin of a checkpoint directory. The
// error is fs.ErrNotExist if there is none.
func ReadTrainingArgs(ctx context.Context, dir string) (*TrainingArgs, error) {
	name := filepath.Join(dir, trainingArgsFile)
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if err := regular.Check(name, info); err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseTrainingArgs(ctx, f, info.Size())
}

func parseTrainingArgs(ctx context.Context, r io.ReaderAt, size int64) (*TrainingArgs, error) {
	contents, err := load(ctx, r, size)
	if err != nil {
		return nil, err
	}
	root := contents.Root
	if _, _, ok := root.Class(); !ok {
		return nil, fmt.Errorf("want an object of TrainingArguments, found %s", root.Describe())
	}
	if _, err := text(root, "output_dir"); err != nil {
		return nil, err
	}
	a := &TrainingArgs{
		SaveOnlyModel:      flag(root, "save_only_model"),
		LoadBestModelAtEnd: flag(root, "load_best_model_at_end"),
		GreaterIsBetter:    flag(root, "greater_is_better"),
		FP16:               flag(root, "fp16"),
		BF16:               flag(root, "bf16"),
		SaveTotalLimit:     max(0, number(root, "save_total_limit", 0)),
		MaxSteps:           number(root, "max_steps", -1),
		// The option was removed in 5.0: safetensors is all that is written.
		V4: root.Get("save_safetensors").Err() == nil,
	}
	a.OutputDir, _ = text(root, "output_dir")
	a.SaveStrategy, _ = text(root, "save_strategy")
	a.Metric, _ = text(root, "metric_for_best_model")
	a.Optim, _ = text(root, "optim")
	a.SaveSteps, _ = root.Get("save_steps").Float()
	if ds := root.Get("deepspeed"); ds.Err() == nil && !ds.IsNone() {
		if a.DeepSpeed, _ = text(root, "deepspeed"); a.DeepSpeed == "" {
			a.DeepSpeed = "inline"
		}
	}
	a.FSDP = given(root.Get("fsdp"))
	return a, nil
}

// text returns a str, or the value of an enumeration's member.
func text(root pickle.Value, key string) (string, error) {
	return root.Get(key).Enum().Text()
}

func flag(root pickle.Value, key string) bool {
	b, err := root.Get(key).Bool()
	return err == nil && b
}

func number(root pickle.Value, key string, def int) int {
	n, err := root.Get(key).Int()
	if err != nil || n > 1<<31-1 || n < -(1<<31) {
		return def
	}
	return int(n)
}

// given reports whether a value is set: not None, False, "" or an empty list.
func given(v pickle.Value) bool {
	if v.Err() != nil || v.IsNone() {
		return false
	}
	if b, err := v.Bool(); err == nil {
		return b
	}
	if s, err := v.Text(); err == nil {
		return s != ""
	}
	if elems, err := v.Elems(); err == nil {
		for range elems {
			return true
		}
		return false
	}
	return true
}
