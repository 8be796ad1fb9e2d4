//go:build !linux

package run

import (
	"errors"
	"os"
)

var errNoReflink = errors.New("no reflink")

func reflink(_, _ *os.File) error { return errNoReflink }
