package modeldir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/internal/atomicfile"
)

func ls(t *testing.T, dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestDir(t *testing.T) {
	source := fstest.MapFS{"config.json": {Data: []byte("{}")}, "tokenizer.json": {Data: []byte("[]")}, "sub/vocab.txt": {}, "optimizer.pt": {}, "README.md": {}}
	parent := t.TempDir()
	out := filepath.Join(parent, "new", "out")
	d, err := Create(out, nil)
	require.NoError(t, err)
	require.True(t, atomicfile.IsTemp(filepath.Base(d.Path)))
	require.NoError(t, d.CopyCompanions(source, ".", IsCompanion))
	require.NoError(t, d.Write("extra.json", strings.NewReader("1")))
	require.NoDirExists(t, out)
	require.NoError(t, d.Publish())
	require.NoError(t, d.Abort(), "after Publish it does nothing")
	require.Equal(t, []string{"config.json", "extra.json", "tokenizer.json"}, ls(t, out))
	require.Equal(t, []string{"out"}, ls(t, filepath.Dir(out)))

	d, err = Create(out, nil)
	require.NoError(t, err)
	require.Equal(t, out, d.Path, "what exists is written to in place")
	require.NoError(t, d.Abort())
	require.Len(t, ls(t, out), 3)

	d, err = Create(out+"2", nil)
	require.NoError(t, err)
	require.NoError(t, d.Write("extra.json", strings.NewReader("1")))
	require.NoError(t, d.Abort())
	require.Equal(t, []string{"out"}, ls(t, filepath.Dir(out)))
}

func TestCheck(t *testing.T) {
	src := t.TempDir()
	file := filepath.Join(src, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(src, link))
	out := filepath.Join(t.TempDir(), "out")
	require.NoError(t, Check(out, false, false, "", src))
	for _, dst := range []string{src, filepath.Join(src, "out"), filepath.Join(link, "a", "b"), link} {
		require.ErrorContains(t, Check(dst, false, true, "", src), "lies inside")
	}
	require.ErrorContains(t, Check(src, false, false), "exists")
	require.ErrorContains(t, Check(src, true, true), "is not a file")
	empty := t.TempDir()
	require.NoError(t, Check(empty, false, false), "nothing to lose")
	require.NoError(t, os.WriteFile(filepath.Join(empty, filepath.Base(atomicfile.TempName(out))), nil, 0o600))
	require.NoError(t, Check(empty, false, false), "nor what a killed write left")
	require.ErrorContains(t, Check(empty, true, false), "is not a file")
	require.ErrorContains(t, Check(file, false, true), "is not a directory")
}

func TestIsCompanion(t *testing.T) {
	for _, name := range []string{"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "merges.txt",
		"chat_template.jinja", "preprocessor_config.json", "processor_config.json", "special_tokens_map.json", "spiece.model", "qwen.tiktoken"} {
		require.True(t, IsCompanion(name), name)
	}
	for _, name := range []string{"model.safetensors", "model.safetensors.index.json", "optimizer.pt", "trainer_state.json", "training_args.bin", "README.md", "adapter_config.json"} {
		require.False(t, IsCompanion(name), name)
	}
}
