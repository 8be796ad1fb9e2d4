package checkpoint

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// A Resumption says how training can go on from a checkpoint. What the Trainer
// does with each missing file was run with transformers 5.23.0.
type Resumption struct {
	Resumable Resumable
	Reasons   []string // why Resumable is not ResumeExact, and what the Trainer would do
	Missing   []string // files that exact resumption needs, relative to the checkpoint
	WorldSize int      // processes that wrote the state, and that must resume it if it is ZeRO's; 0 if not known
	Complete  bool     // whether all that a whole save writes is there

	sharded bool // the shards of ZeRO or FSDP are all there
}

// checkResume says whether the save is complete and how training can go on from
// it.
func checkResume(v *validation) error {
	c, r := v.c, v.r
	if c.trainer != nil {
		r.Step, r.Epoch = c.trainer.Step, c.trainer.Epoch
	} else if c.dir != "" {
		r.Step = stepOf(c.dir)
	}
	switch c.kind {
	case KindFull, KindAdapter, KindZeRO, KindFSDP:
	default:
		return nil
	}
	whole := !slices.ContainsFunc(r.Report.Problems(), breaksWeights) && (c.kind == KindFull || c.kind == KindAdapter)
	if c.files.has(incompleteFile) {
		p := diag.New(diag.SaveIncomplete, "%s is here: the save was not finished", incompleteFile)
		p.File = incompleteFile
		p.Cause = "the process was killed while it wrote the checkpoint that SIGTERM had asked for"
		p.Fix = "resume from an earlier checkpoint: resuming takes this directory without a word"
		v.add(p)
	}
	isStep := stepOf(c.dir) >= 0
	if isStep && c.trainer == nil && c.trainerErr == nil {
		p := diag.New(diag.TrainerStateMissing, "trainer_state.json is missing: the save was most likely not finished")
		p.File, p.Want = trainerStateFile, "the file that the Trainer writes last"
		p.Cause = "the process was killed while it saved, or the checkpoint was copied only in part"
		p.Fix = "resume from an earlier checkpoint-N that has it"
		if earlier := c.earlierSave(); earlier != "" {
			p.Fix = "resume from " + earlier + ", which has it"
		}
		v.add(p)
	}
	how := c.resumption(v.ctx, whole)
	for _, p := range r.Report.Problems() {
		if p.Code == diag.TorchChecksum {
			how.inexact("%s is damaged: its bytes do not have their checksum, and torch.load does not look", p.File)
		}
	}
	complete := c.complete(whole, how)
	r.Complete = &complete
	r.Resumable, r.Reasons, r.Missing, r.WorldSize = how.Resumable, how.Reasons, how.Missing, how.WorldSize
	if r.Resumable == ResumeExact || c.state == StateNone || !complete && r.Resumable == ResumeNo { // what breaks the weights has been said
		return nil
	}
	p := diag.New(diag.ResumeInexact, "training cannot be resumed exactly: %s", strings.Join(r.Reasons, "; "))
	p.Cause, p.Fix = "files of the training state are missing or damaged", "resume from a checkpoint that has them whole, or start a new run from these weights"
	if c.trainingStateFiles() == 0 && (c.trainer != nil || !isStep) {
		p.Cause = "saved with save_only_model=True: the optimizer, the scheduler and the random state were never written"
		p.Fix = "start a new run from these weights; train with save_only_model=False to be able to resume exactly"
		if !isStep {
			p.Cause = "this is a final model, which trainer.save_model writes without the training state, and no checkpoint-N"
			p.Fix = "to go on training, resume from a checkpoint-N of the run"
		}
	}
	v.add(p)
	return nil
}

// earlierSave returns the checkpoint-N of the highest step before this one, beside
// it, whose save was finished; "" if there is none.
func (c *Checkpoint) earlierSave() string {
	if c.parent == "" {
		return ""
	}
	siblings, err := os.ReadDir(c.parent)
	if err != nil {
		return ""
	}
	best := ""
	for _, e := range siblings {
		n := stepOf(e.Name())
		if n <= stepOf(best) || n >= stepOf(c.dir) {
			continue
		}
		if _, err := os.Stat(filepath.Join(c.parent, e.Name(), trainerStateFile)); err == nil {
			best = e.Name()
		}
	}
	return best
}

// breaksWeights reports whether weights with this problem cannot be trusted.
func breaksWeights(p diag.Problem) bool {
	return p.Severity == diag.Error && strings.ContainsAny(string(p.Code[:1]), "FHIMA") || p.Code == diag.WeightsMissing || p.Code == diag.AdapterConfigMissing
}

// Resumption returns how training can go on, from the files' structure alone:
// the tensors are not held against the config and no checksum is taken. Validate
// gives the same answer after all its checks.
func (c *Checkpoint) Resumption(ctx context.Context) *Resumption {
	whole := c.weightsWhole()
	h := c.resumption(ctx, whole)
	h.Complete = c.complete(whole, h)
	return h
}

// Complete reports, from the files' structure alone, whether all that a whole
// save writes is there.
func (c *Checkpoint) Complete(ctx context.Context) bool {
	return c.Resumption(ctx).Complete
}

// complete: the weights are whole, or lie in shards that are; the marker that
// the Trainer writes last is there, and the one of an unfinished save is not.
func (c *Checkpoint) complete(whole bool, how *Resumption) bool {
	if c.files == nil || c.files.has(incompleteFile) {
		return false
	}
	if c.kind == KindZeRO || c.kind == KindFSDP {
		whole = how.sharded
	}
	isStep := stepOf(c.dir) >= 0
	if c.trainer == nil && !isStep { // trainer.save_model leaves training_args.bin, but no state
		return whole && (c.state != StateTrainer || c.trainerErr == nil && c.trainingStateFiles() == 0)
	}
	return whole && c.trainer != nil
}

// weightsWhole reports whether the weights' headers fit their files.
func (c *Checkpoint) weightsWhole() bool {
	switch c.kind {
	case KindFull:
		return c.model != nil && c.model.Report().Count(diag.Error) == 0
	case KindAdapter:
		return !slices.ContainsFunc(c.adapters, func(a *adapter) bool {
			return a.config == nil || a.weights == nil || a.weights.file == nil
		})
	}
	return false
}

// trainingStateFiles counts the kinds of state files of a single writer.
func (c *Checkpoint) trainingStateFiles() int {
	n := 0
	for _, there := range []bool{c.files.has(optimizerFile), c.files.has(schedulerFile), len(c.files.match(rngFile)) > 0} {
		if there {
			n++
		}
	}
	return n
}

func (h *Resumption) inexact(format string, args ...any) {
	h.Reasons = append(h.Reasons, fmt.Sprintf(format, args...))
	if h.Resumable == ResumeExact {
		h.Resumable = ResumeWeightsOnly
	}
}

func (h *Resumption) lacks(names ...string) { h.Missing = append(h.Missing, names...) }
