package checkpoint

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// Resumable says how training can go on from a checkpoint.
type Resumable string

// The ways to resume.
const (
	ResumeExact       Resumable = "exact"        // weights, optimizer, scheduler, random state and step
	ResumeWeightsOnly Resumable = "weights-only" // a new optimizer would start from these weights
	ResumeNo          Resumable = "no"
)

// A Result says what was checked of one target, and what is wrong with it.
type Result struct {
	// Report holds the problems. It is never nil.
	Report *diag.Report

	Path         string // as it was given
	Kind         Kind
	State        State
	Complete     *bool     // whether all that a whole save writes is there; nil if that cannot be said
	Resumable    Resumable // "" if that cannot be said
	Reasons      []string  // why Resumable is not ResumeExact, and what the Trainer would do
	Missing      []string  // files that exact resumption needs
	WorldSize    int       // processes that wrote the training state; 0 if not known
	Step         int       // -1 if not known
	Epoch        float64   // NaN if not known
	ModelType    string    // of config.json, "" if there is none
	Architecture string    // the class whose tensors were expected
	Layout       string    // the layout of names that was found: save, native or hub
	Adapter      string    // "LORA rank 16, alpha 32", "" if there is none
	Expected     bool      // whether the tensors were held against a config or an adapter config
	Tensors      int
	Parameters   uint64 // elements of all tensors
	Bytes        uint64 // of all tensors

	Strict bool // warnings count as errors
}

// Valid reports whether no error was found; with Strict, no warning either. It
// says nothing beyond what was checked: see Expected.
func (r *Result) Valid() bool {
	return r.Report.Count(diag.Error) == 0 && !(r.Strict && r.Report.Count(diag.Warning) > 0)
}

// Unfinished reports whether the marker that ends a save is not there although
// nothing is wrong with what is.
func (r *Result) Unfinished() bool { return r.Report.Has(diag.TrainerStateMissing) }

// Verdict returns the last line of a verification.
func (r *Result) Verdict() string {
	switch {
	case !r.Valid():
		return "NOT valid: " + r.counts()
	case r.Kind == KindRun:
		return "Run directory in order."
	case !r.Expected && r.Unfinished():
		return "Structure valid, tensors NOT held against a config, and the save is INCOMPLETE." + r.aside()
	case !r.Expected:
		return "Structure valid, tensors NOT held against a config." + r.aside()
	case r.Unfinished():
		return "Weights valid, but the save is INCOMPLETE." + r.aside()
	default:
		return "Checkpoint valid!" + r.aside()
	}
}

func (r *Result) aside() string {
	if s := r.counts(); s != "" {
		return " (" + s + ")"
	}
	return ""
}

func (r *Result) counts() string {
	var parts []string
	for _, s := range []diag.Severity{diag.Error, diag.Warning, diag.Note} {
		switch n := r.Report.Count(s); n {
		case 0:
		case 1:
			parts = append(parts, "1 "+s.String())
		default:
			parts = append(parts, fmt.Sprintf("%d %ss", n, s))
		}
	}
	return strings.Join(parts, ", ")
}

// MarshalJSON writes the TARGET object of the tool's JSON, schema version 1.
func (r *Result) MarshalJSON() ([]byte, error) {
	problems := r.Report.Problems()
	if problems == nil {
		problems = []diag.Problem{}
	}
	var step *int
	if r.Step >= 0 {
		step = &r.Step
	}
	return json.Marshal(struct {
		Path         string            `json:"path"`
		Kind         Kind              `json:"kind"`
		State        State             `json:"state"`
		Valid        bool              `json:"valid"`
		Complete     *bool             `json:"complete"`
		Resumable    *string           `json:"resumable"`
		Step         *int              `json:"step"`
		ModelType    *string           `json:"model_type"`
		Architecture *string           `json:"architecture"`
		Layout       *string           `json:"layout"`
		Expected     bool              `json:"expected"`
		Tensors      int               `json:"tensors"`
		Parameters   uint64            `json:"parameters"`
		Bytes        uint64            `json:"bytes"`
		Problems     []diag.Problem    `json:"problems"`
		Omitted      map[diag.Code]int `json:"omitted,omitempty"`
	}{r.Path, r.Kind, r.State, r.Valid(), r.Complete, orNull(string(r.Resumable)), step, orNull(r.ModelType),
		orNull(r.Architecture), orNull(r.Layout), r.Expected, r.Tensors, r.Parameters, r.Bytes, problems, r.Report.Omitted()})
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// An InvalidError says that a checkpoint is not valid. errors.Is finds each code
// of its problems:
//
//	if errors.Is(err, diag.FileTruncated) { ... }
type InvalidError struct{ Result *Result }

func (e *InvalidError) Error() string {
	return fmt.Sprintf("checkpoint %s is %s\n%s", e.Result.Path, e.Result.Verdict(), e.Result.Report.Summary())
}

// Is reports whether target is the code of a problem in the result.
func (e *InvalidError) Is(target error) bool {
	c, ok := target.(diag.Code)
	return ok && e.Result.Report.Has(c)
}
