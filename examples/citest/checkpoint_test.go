// Package citest guards a checkpoint in CI: copy this file into your repository
// and name your own directory.
package citest

import (
	"os"
	"testing"

	"github.com/safeckpt/safeckpt/checkpoint/checkpointtest"
)

func TestCheckpoint(t *testing.T) {
	dir := "../safeckpt/sample/full/checkpoint-20"
	if d := os.Getenv("CHECKPOINT_DIR"); d != "" {
		dir = d
	}
	checkpointtest.Valid(t, dir, nil)
}
