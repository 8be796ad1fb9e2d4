package run

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// usageTree has holes, hard links, symlinks, empty and deep directories.
func usageTree(t testing.TB) string {
	dir := t.TempDir()
	for _, sub := range []string{"a/b/c/d", "e", "f g"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	for i := range 300 {
		name := filepath.Join(dir, []string{"a", "a/b", "a/b/c/d", "f g"}[i%4], "file-"+strconv.Itoa(i))
		require.NoError(t, os.WriteFile(name, make([]byte, i*37), 0o644))
		if i%7 == 0 {
			require.NoError(t, os.Link(name, filepath.Join(dir, "e", "link-"+strconv.Itoa(i))))
		}
	}
	f, err := os.Create(filepath.Join(dir, "hole"))
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("x"), 5<<20)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, os.Symlink("/usr", filepath.Join(dir, "outside")))
	require.NoError(t, os.Symlink(strings.Repeat("long/", 30), filepath.Join(dir, "nowhere")))
	return dir
}

func du(t testing.TB, args ...string) (sizes []int64) {
	out, err := exec.Command("du", append([]string{"-s", "-B1"}, args...)...).Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(out)) {
		n, err := strconv.ParseInt(strings.Fields(line)[0], 10, 64)
		require.NoError(t, err)
		sizes = append(sizes, n)
	}
	return sizes
}

func TestUsageEqualsDu(t *testing.T) {
	version, err := exec.Command("du", "--version").Output()
	if err != nil || !strings.Contains(string(version), "GNU") {
		t.Skip("no GNU du here")
	}
	dir := usageTree(t)
	got, err := MeasureUsage(t.Context(), dir)
	require.NoError(t, err)
	require.Equal(t, du(t, dir)[0], got[0].Allocated)
	require.Equal(t, 302+1, got[0].Files) // without the 43 second links

	// du --apparent-size counts directories too before coreutils 9.2.
	dirs, sum := int64(0), int64(0)
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			info, err := d.Info()
			require.NoError(t, err)
			dirs += info.Size()
		}
		return err
	}))
	sum = du(t, "--apparent-size", dir)[0]
	require.Contains(t, []int64{sum, sum - dirs}, got[0].Apparent)

	t.Run("two roots share links", func(t *testing.T) {
		a, e := filepath.Join(dir, "a"), filepath.Join(dir, "e")
		got, err := MeasureUsage(t.Context(), a, e)
		require.NoError(t, err)
		require.Equal(t, du(t, a, e), []int64{got[0].Allocated, got[1].Allocated})
	})
	t.Run("a file", func(t *testing.T) {
		got, err := MeasureUsage(t.Context(), filepath.Join(dir, "hole"))
		require.NoError(t, err)
		require.Equal(t, du(t, filepath.Join(dir, "hole"))[0], got[0].Allocated)
		require.EqualValues(t, 5<<20+1, got[0].Apparent)
		require.Positive(t, got[0].Free)
	})
	_, err = MeasureUsage(t.Context(), filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
