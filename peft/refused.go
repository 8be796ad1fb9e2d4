package peft

import "github.com/safeckpt/safeckpt/diag"

// A RefusedError says why Merge, RenameAdapter or OpenBase did not do it: what is
// wrong with an adapter or a base, or between them, or that a result cannot be
// computed. errors.Is finds each code of its problems.
type RefusedError struct{ Report *diag.Report }

func (e *RefusedError) Error() string { return e.Report.Summary() }

// Is reports whether target is the code of one of the problems.
func (e *RefusedError) Is(target error) bool {
	c, ok := target.(diag.Code)
	return ok && e.Report.Has(c)
}

func refused(problems ...diag.Problem) *RefusedError {
	r := &diag.Report{}
	r.Add(problems...)
	return &RefusedError{r}
}
