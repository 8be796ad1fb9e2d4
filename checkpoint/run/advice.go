package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/internal/shell"
)

// Advice says how to go on from a checkpoint.
type Advice struct {
	Path      string
	Step      int // -1 if not known
	Resumable checkpoint.Resumable
	Reasons   []string
	Missing   []string
	WorldSize int    // 0 if not known
	Argument  string // for the training script; "" if training cannot be resumed
	Base      string // the model that an adapter wants, "" if there is none
	Python    string // lines that load the weights for inference, "" if they cannot be
}

// Advise says how a checkpoint, or the latest usable one of a run, is resumed and
// loaded. All is checked, checksums of torch files included.
func Advise(ctx context.Context, dir string) (*Advice, error) {
	path := dir
	if r, err := Open(ctx, dir, nil); err != nil {
		return nil, err
	} else if len(r.Checkpoints) > 0 {
		c := r.LatestUsable()
		if c == nil {
			return &Advice{Path: dir, Step: -1, Resumable: checkpoint.ResumeNo, Reasons: []string{"no checkpoint here is whole"}}, nil
		}
		path = c.Path
	}
	c, err := checkpoint.Open(ctx, path, nil)
	if err != nil {
		return nil, err
	}
	r, err := c.Validate(ctx, &checkpoint.ValidateOptions{Values: true})
	if err := errors.Join(err, c.Close()); err != nil {
		return nil, err
	}
	if r.Resumable == "" {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoRun)
	}
	a := &Advice{Path: path, Step: r.Step, Resumable: r.Resumable, Reasons: r.Reasons, Missing: r.Missing, WorldSize: r.WorldSize}
	if r.Resumable == checkpoint.ResumeExact {
		a.Argument = "--resume_from_checkpoint " + shell.Word(path)
	}
	if r.Resumable != checkpoint.ResumeNo {
		a.python(r)
	}
	return a, nil
}

// python writes the lines for this very checkpoint.
func (a *Advice) python(r *checkpoint.Result) {
	path := pyString(a.Path)
	switch r.Kind {
	case checkpoint.KindFull:
		class := r.Architecture
		if class == "" {
			class = "AutoModel"
		}
		a.Python = fmt.Sprintf("from transformers import %s\nmodel = %s.from_pretrained(%s)\n", class, class, path)
	case checkpoint.KindAdapter:
		var config struct {
			Base string `json:"base_model_name_or_path"`
			Task string `json:"task_type"`
			Auto struct {
				Class string `json:"base_model_class"`
			} `json:"auto_mapping"`
		}
		if text, err := os.ReadFile(filepath.Join(a.Path, "adapter_config.json")); err == nil {
			_ = json.Unmarshal(text, &config) // Validate has judged it
		}
		a.Base = config.Base
		base, note := pyString(config.Base), ""
		if config.Base == "" {
			base, note = `"BASE"`, "  # adapter_config.json does not say which"
		}
		class := config.Auto.Class
		switch {
		case strings.Contains(strings.ToLower(config.Base), "qwen2.5-vl"):
			class = "Qwen2_5_VLForConditionalGeneration"
		case class != "":
		case config.Task == "CAUSAL_LM":
			class = "AutoModelForCausalLM"
		case config.Task == "SEQ_CLS":
			class = "AutoModelForSequenceClassification"
		case config.Task == "SEQ_2_SEQ_LM":
			class = "AutoModelForSeq2SeqLM"
		default:
			class = "AutoModel"
		}
		a.Python = fmt.Sprintf("from peft import PeftModel\nfrom transformers import %s\nbase = %s.from_pretrained(%s)%s\nmodel = PeftModel.from_pretrained(base, %s)\n",
			class, class, base, note, path)
	}
}

func pyString(s string) string {
	b, err := json.Marshal(s) // a JSON string is one of Python's
	if err != nil {
		return `""`
	}
	return string(b)
}
