package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/pyjson"
)

// TrainerState is what trainer_state.json says of a run at the time of the save.
// Follows transformers 5.23.0 trainer_callback.py, class TrainerState; fields of
// other versions are ignored here, not refused.
type TrainerState struct {
	Step     int     // global_step
	MaxSteps int     // max_steps; 0 if not known
	Epoch    float64 // NaN if null
	// BestMetric is NaN if there is none; it can be infinite while the metric is NaN.
	BestMetric     float64
	BestStep       int    // best_global_step; -1 if there is none
	BestCheckpoint string // best_model_checkpoint as the run wrote it, relative or absolute; "" if there is none
	// FirstBadLoss is the first step whose logged loss or grad_norm is NaN or
	// infinite, -1 if all are finite.
	FirstBadLoss int
	LastLoss     float64 // the newest logged loss; NaN if there is none
	SaveSteps    float64 // save_steps; below 1 it is a ratio of MaxSteps
}

type rawTrainerState struct {
	GlobalStep          *pyjson.Float `json:"global_step"`
	MaxSteps            pyjson.Float  `json:"max_steps"`
	Epoch               *pyjson.Float `json:"epoch"`
	BestMetric          *pyjson.Float `json:"best_metric"`
	BestGlobalStep      *pyjson.Float `json:"best_global_step"`
	BestModelCheckpoint *string       `json:"best_model_checkpoint"`
	SaveSteps           pyjson.Float  `json:"save_steps"`
	LogHistory          []logEntry    `json:"log_history"`
}

type logEntry struct {
	Step     pyjson.Float `json:"step"`
	Loss     *logValue    `json:"loss"`
	GradNorm *logValue    `json:"grad_norm"`
}

// logValue is a number that some loggers write as text; text is not judged.
type logValue float64

func (v *logValue) UnmarshalJSON(b []byte) error {
	var f pyjson.Float
	if err := f.UnmarshalJSON(b); err == nil {
		*v = logValue(f)
	}
	return nil
}

// ParseTrainerState decodes trainer_state.json, with the NaN and Infinity that
// Python writes.
func ParseTrainerState(data []byte) (*TrainerState, error) {
	var raw rawTrainerState
	if _, err := pyjson.Unmarshal(data, &raw); err != nil {
		return nil, err
	}
	if raw.GlobalStep == nil {
		return nil, errors.New("want an object with global_step, found none")
	}
	maxSteps, _ := stepNumber("max_steps", raw.MaxSteps) // 0 if it is none; -1 means that epochs count
	s := &TrainerState{
		MaxSteps:     maxSteps,
		Epoch:        floatOr(raw.Epoch, math.NaN()),
		BestMetric:   floatOr(raw.BestMetric, math.NaN()),
		SaveSteps:    float64(raw.SaveSteps),
		FirstBadLoss: -1,
		LastLoss:     math.NaN(),
	}
	var err error
	if s.Step, err = stepNumber("global_step", *raw.GlobalStep); err != nil {
		return nil, err
	}
	s.BestStep = -1
	if raw.BestGlobalStep != nil {
		if s.BestStep, err = stepNumber("best_global_step", *raw.BestGlobalStep); err != nil {
			return nil, err
		}
	}
	if raw.BestModelCheckpoint != nil {
		s.BestCheckpoint = *raw.BestModelCheckpoint
	}
	for _, e := range raw.LogHistory {
		for _, v := range []*logValue{e.Loss, e.GradNorm} {
			if v != nil && !finite(float64(*v)) && s.FirstBadLoss < 0 {
				// A step that is none does not hide the loss.
				s.FirstBadLoss, _ = stepNumber("step", e.Step)
			}
		}
		if e.Loss != nil {
			s.LastLoss = float64(*e.Loss)
		}
	}
	return s, nil
}

func stepNumber(field string, f pyjson.Float) (int, error) {
	if f < 0 || f > math.MaxInt32 || f != pyjson.Float(math.Trunc(float64(f))) {
		return 0, fmt.Errorf("want a step number in %s, found %v", field, float64(f))
	}
	return int(f), nil
}

func floatOr(f *pyjson.Float, def float64) float64 {
	if f == nil {
		return def
	}
	return float64(*f)
}

func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }

// checkTrainerState holds trainer_state.json against the directory it lies in.
func checkTrainerState(v *validation) error {
	c := v.c
	if v.notAFile(trainerStateFile, c.trainerErr) {
		return nil
	}
	if c.trainerErr != nil {
		p := diag.New(diag.TrainerStateInvalid, "trainer_state.json is not usable: %v", c.trainerErr)
		p.File, p.Want, p.Got = trainerStateFile, "the JSON object that the Trainer writes", c.trainerErr.Error()
		p.Cause = "the save was killed, or the disk was full: trainer_state.json is the last file that the Trainer writes"
		p.Fix = "resume from an earlier checkpoint; the weights here may still be whole"
		v.add(p)
		return nil
	}
	s := c.trainer
	if s == nil {
		return nil
	}
	if n := stepOf(c.dir); n >= 0 && n != s.Step {
		p := diag.New(diag.StepMismatch, "the directory is named checkpoint-%d, trainer_state.json says step %d", n, s.Step)
		p.File, p.Want, p.Got = trainerStateFile, fmt.Sprint(n), fmt.Sprint(s.Step)
		p.Cause = "the directory was renamed, or files of two checkpoints were mixed"
		p.Fix = fmt.Sprintf("rename the directory to checkpoint-%d if its files belong together", s.Step)
		v.add(p)
	}
	if s.FirstBadLoss >= 0 {
		p := diag.New(diag.LossNotFinite, "loss or grad_norm is not finite from step %d on", s.FirstBadLoss)
		p.File = trainerStateFile
		p.Cause = "training diverged, or a batch overflowed in float16"
		p.Fix = fmt.Sprintf("look at the weights with --values; go back to a checkpoint before step %d", s.FirstBadLoss)
		v.add(p)
	}
	if s.BestCheckpoint != "" && c.parent != "" && s.BestStep != s.Step {
		name := path.Base(s.BestCheckpoint)
		if _, err := os.Lstat(filepath.Join(c.parent, name)); stepDir.MatchString(name) && errors.Is(err, fs.ErrNotExist) {
			p := diag.New(diag.BestMissing, "the best checkpoint so far, %s (metric %v), is not beside this one", diag.Name(s.BestCheckpoint), s.BestMetric)
			p.File, p.Want = trainerStateFile, name
			p.Cause = "it was rotated away or moved; load_best_model_at_end would fail to load it"
			p.Fix = "if a copy exists elsewhere, use that one by its path"
			v.add(p)
		}
	}
	return nil
}
