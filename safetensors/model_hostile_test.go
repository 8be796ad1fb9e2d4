package safetensors_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

var hostileNames = []string{"\x1b]0;owned\a", "a\x1b[2Jb", "a\nb", "a\rb", "\u202egnp.x", "\u009b31m", "\u2028", "\x7f", "a\x00b", "'; rm -rf ~; '", `"`}

// requirePrintable checks that nothing of a report can steer a terminal.
func requirePrintable(t *testing.T, r *diag.Report) {
	t.Helper()
	for _, p := range r.Problems() {
		texts := []string{p.Message, p.Cause, p.Fix}
		for _, other := range p.Related {
			texts = append(texts, other.Message)
		}
		for _, s := range texts {
			for _, c := range s {
				require.True(t, unicode.IsPrint(c), "%s: %q", p.Code, s)
			}
		}
	}
}

func TestHostileIndexIsPrintable(t *testing.T) {
	for _, bad := range hostileNames {
		quoted, err := json.Marshal(bad)
		require.NoError(t, err)
		for name, text := range map[string]string{
			"file":          `{"weight_map":{"a":%s,"b":"` + shard1 + `"}}`,
			"tensor":        `{"weight_map":{%s:"` + shard1 + `","b":"gone.safetensors"}}`,
			"lost tensor":   `{"weight_map":{%s:"gone.safetensors"}}`,
			"no file":       `{"weight_map":{%s:3,"b":"` + shard1 + `"}}`,
			"twice":         `{"weight_map":{%[1]s:"` + shard1 + `",%[1]s:"` + shard1 + `"}}`,
			"total size":    `{"metadata":{"total_size":%s},"weight_map":{"b":"` + shard1 + `"}}`,
			"no weight_map": `{"weight_map":%s}`,
			"syntax":        `{"weight_map":{%s`,
		} {
			t.Run(fmt.Sprintf("%s %q", name, bad), func(t *testing.T) {
				fsys := fstest.MapFS{indexName: {Data: fmt.Appendf(nil, text, quoted)}, shard1: {Data: shard("b", bad)}}
				m, err := safetensors.OpenModel(fsys, nil)
				require.NoError(t, err)
				require.NotEmpty(t, m.Report().Problems())
				requirePrintable(t, m.Report())
				require.NoError(t, m.Close())
			})
		}
		t.Run(fmt.Sprintf("on disk %q", bad), func(t *testing.T) {
			name := bad + ".safetensors"
			m, err := safetensors.OpenModel(fstest.MapFS{name: {Data: []byte("<html>")}, shard1: {Data: shard("a")}}, nil)
			if err == nil {
				requirePrintable(t, m.Report())
				require.NoError(t, m.Close())
			}
		})
	}
}

func TestFixNamesFilesForTheShell(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("NOT RUN by a shell: there is no bash")
	}
	for _, name := range []string{"model.safetensors", "a b'c\"$(x).safetensors", "-rf", `~`, "dir/é.safetensors"} {
		fsys := fstest.MapFS{indexName: {Data: indexOf(t, 4, map[string]string{"a": name})}, name: {Mode: fs.ModeNamedPipe}}
		m, err := safetensors.OpenModel(fsys, nil)
		require.NoError(t, err)
		problems := m.Report().Problems()
		require.Equal(t, diag.FileNotRegular, problems[0].Code, problems)
		_, command, _ := strings.Cut(problems[0].Fix, "look at it with: ")
		command, _, _ = strings.Cut(command, "; remove it")
		out, err := exec.Command(bash, "-c", "ls() { printf %s \"$2\"; }; "+command).Output()
		require.NoError(t, err)
		if name[0] == '-' {
			name = "./" + name
		}
		require.Equal(t, name, string(out))
		require.NoError(t, m.Close())
	}
}

func TestHostileIndexTakesLittleMemory(t *testing.T) {
	tree := "[" + strings.Repeat("[],", 1<<20) + "[]]"
	for name, text := range map[string]string{
		"other key": `{"x":` + tree + `,"weight_map":{"b":"` + shard1 + `"}}`,
		"value":     `{"weight_map":{"a":` + tree + `,"b":"` + shard1 + `"}}`,
		"metadata":  `{"metadata":` + tree + `,"weight_map":{"b":"` + shard1 + `"}}`,
		"root":      tree,
	} {
		t.Run(name, func(t *testing.T) {
			fsys := fstest.MapFS{indexName: {Data: []byte(text)}, shard1: {Data: shard("b")}}
			before := allocated()
			m, err := safetensors.OpenModel(fsys, nil)
			require.NoError(t, err)
			require.Less(t, allocated()-before, uint64(12*len(text)))
			require.NoError(t, m.Close())
		})
	}
}

func TestIndexKinds(t *testing.T) {
	for value, want := range map[string]string{`NaN`: "a number", `-Infinity`: "a number", `1`: "a number", `-1`: "a number",
		`null`: "null", `true`: "a boolean", `[]`: "an array", `{}`: "an object"} {
		fsys := fstest.MapFS{indexName: {Data: []byte(`{"weight_map":{"a": ` + value + ` ,"b":"` + shard1 + `"}}`)}, shard1: {Data: shard("b")}}
		m := openModel(t, fsys, nil)
		require.Equal(t, "weight_map gives "+want+" as the file of a, want a string", m.Report().Problems()[0].Message)
	}
}
