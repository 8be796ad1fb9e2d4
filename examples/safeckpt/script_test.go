package main

import (
	"flag"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden parts of testdata/script")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"safeckpt": main})
}

// TestScripts runs the program as a shell would: testdata/script/*.txtar. $REAL
// is the directory of checkpoints that transformers wrote, $SAMPLE the embedded
// sample's, $PEFT that of adapters and their bases.
func TestScripts(t *testing.T) {
	real, err := filepath.Abs("../../testdata/checkpoints")
	require.NoError(t, err)
	sample, err := filepath.Abs("sample")
	require.NoError(t, err)
	adapters, err := filepath.Abs("../../peft/testdata")
	require.NoError(t, err)
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("REAL", real)
			e.Setenv("SAMPLE", sample)
			e.Setenv("PEFT", adapters)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"cpdir": cpdir, "truncate": truncate, "status": status, "json": jsonAt, "retensor": retensor,
		},
	})
}
