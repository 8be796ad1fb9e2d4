package hfconfig_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/hfconfig"
)

// pythonEnv names an interpreter that has transformers 5.23 and torch.
const pythonEnv = "SAFECKPT_PYTHON"

// TestAgainstTransformers holds every class of the schemas written by hand against
// transformers itself, on random configs. The generated ones are held so before
// they are written (schemagen), and by committed draws.
func TestAgainstTransformers(t *testing.T) {
	python := os.Getenv(pythonEnv)
	if python == "" {
		t.Skip(pythonEnv + " names no interpreter: NOT compared with transformers")
	}
	count := 12
	if n, err := strconv.Atoi(os.Getenv("SAFECKPT_DRAWS")); err == nil {
		count = n
	}
	args := []string{"testdata/random_models.py", "1", strconv.Itoa(count)}
	classes := handwrittenClasses(t)
	for class, file := range classes {
		if only := os.Getenv("SAFECKPT_ONLY"); strings.Contains(class, only) {
			args = append(args, file+":"+class)
		}
	}
	slices.Sort(args[3:])
	cmd := exec.Command(python, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20)
	accepted, refused := map[string]int{}, 0
	for lines.Scan() {
		var d struct {
			Class   string
			Config  json.RawMessage
			Written json.RawMessage
			Tensors map[string][]uint64
			Native  map[string][]uint64
			Tied    [][]string
			Error   string
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &d))
		if d.Error != "" {
			refused++
			t.Logf("refused: %s: %s", d.Config, d.Error)
			continue
		}
		accepted[d.Class]++
		for _, config := range []json.RawMessage{d.Config, d.Written} {
			c, err := hfconfig.Parse(config)
			require.NoError(t, err)
			x, err := hfconfig.Builtin().Expect(c, nil)
			require.NoError(t, err, string(config))
			require.Equal(t, d.Class, x.Architecture)
			require.Equal(t, d.Tensors, x.Tensors(hfconfig.Save), string(config))
			require.Equal(t, d.Native, x.Tensors(hfconfig.Native), string(config))
			require.ElementsMatch(t, append([][]string{}, d.Tied...), append([][]string{}, x.Tied()...), string(config))
		}
	}
	require.NoError(t, lines.Err())
	require.NoError(t, cmd.Wait())
	for _, arg := range args[3:] {
		_, class, _ := strings.Cut(arg, ":")
		require.GreaterOrEqual(t, accepted[class], min(count, 3), class)
	}
	t.Logf("%d classes; draws refused by transformers: %d", len(accepted), refused)
}

// handwrittenClasses returns every class that the schema files written by hand
// describe, with its file.
func handwrittenClasses(t *testing.T) map[string]string {
	files, err := filepath.Glob("arch/*.arch")
	require.NoError(t, err)
	classes := make(map[string]string)
	for _, f := range files {
		text := readFile(t, f)
		if strings.HasPrefix(string(text), "generated") || strings.HasPrefix(string(text), "# From a generated file") {
			continue
		}
		a := parseArch(t, text)
		for _, modelType := range a.ModelTypes() {
			for _, class := range a.Classes(modelType) {
				classes[class] = strings.TrimSuffix(strings.TrimSuffix(filepath.Base(f), ".arch"), "_vision_model")
			}
		}
	}
	return classes
}
