// Package regular keeps readers off what is no regular file: opening a named pipe
// waits for a writer, and a directory has no bytes.
package regular

import (
	"errors"
	"io/fs"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/shell"
)

// An Error says that there is something else where a file should be.
type Error struct{ Mode fs.FileMode }

func (e *Error) Error() string { return "it is " + e.what() + ", not a file" }

func (e *Error) what() string {
	switch e.Mode.Type() {
	case fs.ModeDir:
		return "a directory"
	case fs.ModeNamedPipe:
		return "a named pipe"
	case fs.ModeSocket:
		return "a socket"
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		return "a device"
	}
	return "something special"
}

// Check returns nil for a regular file, else an *fs.PathError with an *Error in it.
func Check(name string, info fs.FileInfo) error {
	if info.Mode().IsRegular() {
		return nil
	}
	return &fs.PathError{Op: "open", Path: name, Err: &Error{info.Mode()}}
}

// Problem returns the problem of an error of Check, also if it is wrapped, and
// whether it is one.
func Problem(name string, err error) (diag.Problem, bool) {
	var e *Error
	if !errors.As(err, &e) {
		return diag.Problem{}, false
	}
	p := diag.New(diag.FileNotRegular, "%s is %s, not a file", diag.Name(name), e.what())
	p.File, p.Want, p.Got = name, "a file", e.what()
	p.Cause = "something else was made under the file's name"
	p.Fix = "look at it with: ls -ld " + shell.Arg(name) + "; remove it and copy the file there"
	if e.Mode.IsDir() {
		p.Cause = "a container mounted the file where there was none, or a download or copy took the name for that of a directory"
		p.Fix = "look into it with: ls -l " + shell.Arg(name) + "; if the file is in it, move it up, else remove the directory and copy the file there"
	}
	return p, true
}
