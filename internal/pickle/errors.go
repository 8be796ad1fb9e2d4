package pickle

import (
	"errors"
	"fmt"
	"strings"
)

// What can be wrong, for errors.Is on the errors of this package.
var (
	// ErrSyntax: the bytes are not a pickle, or not one that Python could load.
	ErrSyntax = errors.New("malformed pickle")
	// ErrTruncated: the input ends before the pickle does.
	ErrTruncated = errors.New("pickle ends too early")
	// ErrUnsafe: the pickle names something that only an attack would call.
	ErrUnsafe = errors.New("unsafe pickle")
	// ErrLimit: reading on would take more memory than allowed.
	ErrLimit = errors.New("pickle too large")
	// ErrType: a value is missing or of another type than the caller wants.
	ErrType = errors.New("unexpected value in pickle")
)

// An Error says where in a pickle something is wrong.
type Error struct {
	Name    string // Options.Name
	Path    string // of the value, such as .state[0]["exp_avg"]; "" if the pickle itself is at fault
	Offset  int64  // in the input, as ReadAt counts; -1 if not known
	Global  string // the dotted name, if Err is ErrUnsafe
	Message string
	Err     error // one of the errors above, or what reading returned
}

func (e *Error) Error() string {
	var b strings.Builder
	for _, part := range []string{e.Name, e.Path} {
		if part != "" {
			b.WriteString(part + ": ")
		}
	}
	b.WriteString(e.Message)
	if e.Offset >= 0 {
		fmt.Fprintf(&b, " (at byte %d)", e.Offset)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }
