package hfconfig_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pythonEnv names an interpreter that has what schemagen/requirements.txt lists.
const pythonEnv = "SAFECKPT_PYTHON"

// TestAgainstTransformers proves a share of the classes again: random configs that
// neither the schemas nor their proof have seen, held against transformers itself.
// SAFECKPT_EVERY=1 takes all classes, which is hours; 25 is the default.
func TestAgainstTransformers(t *testing.T) {
	python := os.Getenv(pythonEnv)
	if python == "" {
		t.Skip(pythonEnv + " names no interpreter: NOT compared with transformers")
	}
	python, err := filepath.Abs(python)
	require.NoError(t, err)
	every := 25
	if n, err := strconv.Atoi(os.Getenv("SAFECKPT_EVERY")); err == nil {
		every = n
	}
	var classes []string
	for i, class := range drawnClasses(t) {
		if i%every == every/2 {
			classes = append(classes, class)
		}
	}
	run := func(args ...string) []byte {
		cmd := exec.Command(python, slices.Concat([]string{"-m", "schemagen"}, args)...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		require.NoError(t, err, string(out))
		return out
	}
	work := t.TempDir()
	run(slices.Concat([]string{"learn", "--only-draw", "--seed", "1", "--work", work, "--seconds", "60"}, classes)...)
	out := run(slices.Concat([]string{"check", "arch"}, classes, []string{"--work", work})...)
	verdicts := make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^(\w+): (.+)$`).FindAllSubmatch(out, -1) {
		verdicts[string(m[1])] = string(m[2])
	}
	for _, class := range classes {
		if strings.HasPrefix(verdicts[class], "ModuleNotFoundError") {
			t.Logf("%s: NOT compared: %s", class, verdicts[class])
		} else if verdicts[class] != "proven" {
			t.Errorf("%s: %s", class, verdicts[class])
		}
	}
	t.Logf("%d classes", len(classes))
}
