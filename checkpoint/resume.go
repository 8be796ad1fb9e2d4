package checkpoint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// checkResume says whether the save is complete and how training can go on from
// it. What the Trainer does with each missing file was run with transformers
// 5.23.0: optimizer.pt and scheduler.pt count only together.
func checkResume(v *validation) error {
	c, r := v.c, v.r
	if c.trainer != nil {
		r.Step, r.Epoch = c.trainer.Step, c.trainer.Epoch
	} else if c.dir != "" {
		r.Step = stepOf(c.dir)
	}
	switch c.kind {
	case KindFull, KindAdapter:
	case KindZeRO, KindFSDP:
		return nil // decided where their shards are read
	default:
		return nil
	}
	whole := !slices.ContainsFunc(r.Report.Problems(), breaksWeights)
	if c.files.has(incompleteFile) {
		whole = false
		p := diag.New(diag.SaveIncomplete, "%s is here: the save was not finished", incompleteFile)
		p.File = incompleteFile
		p.Cause = "the process was killed while it wrote the checkpoint that SIGTERM had asked for"
		p.Fix = "resume from an earlier checkpoint: resuming takes this directory without a word"
		v.add(p)
	}
	isStep := stepOf(c.dir) >= 0
	complete := whole && (c.trainer != nil || !isStep && c.state != StateTrainer)
	r.Complete = &complete
	if isStep && c.trainer == nil && c.trainerErr == nil {
		p := diag.New(diag.TrainerStateMissing, "trainer_state.json is missing: the save was most likely not finished")
		p.File, p.Want = trainerStateFile, "the file that the Trainer writes last"
		p.Cause = "the process was killed while it saved, or the checkpoint was copied only in part"
		p.Fix = "resume from an earlier checkpoint-N that has it"
		v.add(p)
	}
	r.Resumable, r.Reasons = c.resumable(whole)
	if r.Resumable == ResumeExact || c.state == StateNone || !whole { // what breaks the weights has been said
		return nil
	}
	p := diag.New(diag.ResumeInexact, "training cannot be resumed exactly: %s", strings.Join(r.Reasons, "; "))
	p.Cause, p.Fix = "files of the training state are missing", "resume from a checkpoint that has them, or start a new run from these weights"
	if c.trainer != nil && c.trainingStateFiles() == 0 {
		p.Cause = "saved with save_only_model=True: the optimizer, the scheduler and the random state were never written"
		p.Fix = "start a new run from these weights; train with save_only_model=False to be able to resume exactly"
	}
	v.add(p)
	return nil
}

// breaksWeights reports whether weights with this problem cannot be trusted.
func breaksWeights(p diag.Problem) bool {
	return p.Severity == diag.Error && strings.ContainsAny(string(p.Code[:1]), "FHIMA") || p.Code == diag.WeightsMissing
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

func (c *Checkpoint) resumable(whole bool) (Resumable, []string) {
	if !whole {
		return ResumeNo, []string{"the weights are not whole"}
	}
	var reasons []string
	if c.trainer == nil {
		reasons = append(reasons, "trainer_state.json is missing or damaged, so the step is lost and the Trainer refuses to resume")
	}
	switch optimizer, scheduler := c.files.has(optimizerFile), c.files.has(schedulerFile); {
	case c.state == StateZeRO1, c.state == StateZeRO2, c.state == StateZeRO3, c.state == StateFSDP:
		// their optimizer lies in their own directories
	case !optimizer && !scheduler:
		reasons = append(reasons, "no optimizer.pt and no scheduler.pt: the Trainer starts with new ones, without a word")
	case !optimizer:
		reasons = append(reasons, "no optimizer.pt: the Trainer starts with a new optimizer and throws scheduler.pt away too, without a word")
	case !scheduler:
		reasons = append(reasons, "no scheduler.pt: the Trainer starts with a new scheduler and throws optimizer.pt away too, without a word")
	}
	if len(c.files.match(rngFile)) == 0 {
		reasons = append(reasons, "no rng_state.pth: data order and dropout will differ")
	}
	for _, name := range sortedKeys(c.torch) {
		if err := c.torch[name]; err != nil && name != trainingArgsFile {
			reasons = append(reasons, fmt.Sprintf("%s: %v", name, err))
		}
	}
	if len(reasons) == 0 {
		return ResumeExact, nil
	}
	return ResumeWeightsOnly, reasons
}
