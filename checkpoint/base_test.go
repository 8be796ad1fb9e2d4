package checkpoint

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFindModel(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HF_HUB_CACHE", "")
	t.Setenv("HF_HOME", home)
	repo := filepath.Join(home, "hub", "models--Qwen--Qwen2.5-VL-7B-Instruct")
	for _, rev := range []string{"aaaa", "bbbb"} {
		require.NoError(t, os.MkdirAll(filepath.Join(repo, "snapshots", rev), 0o755))
	}
	_, err := FindModel("Qwen/Qwen2.5-VL-7B-Instruct")
	require.ErrorContains(t, err, "2 revisions")

	require.NoError(t, os.Mkdir(filepath.Join(repo, "refs"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(repo, "refs", "main"), []byte("bbbb\n"), 0o644))
	dir, err := FindModel("Qwen/Qwen2.5-VL-7B-Instruct")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(repo, "snapshots", "bbbb"), dir)

	require.NoError(t, os.WriteFile(filepath.Join(repo, "refs", "main"), []byte("../../../.."), 0o644))
	_, err = FindModel("Qwen/Qwen2.5-VL-7B-Instruct")
	require.ErrorContains(t, err, "2 revisions", "a ref that leads elsewhere is not followed")

	dir, err = FindModel(home)
	require.NoError(t, err)
	require.Equal(t, home, dir)
	_, err = FindModel("Qwen/Other")
	require.ErrorContains(t, err, "no model of that name")
	_, err = FindModel("../../etc")
	require.Error(t, err)
}
