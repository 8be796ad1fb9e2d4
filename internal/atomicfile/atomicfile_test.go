package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

var errKilled = errors.New("killed")

// killAfter returns a Step that lets n operations happen and none after.
func killAfter(n int) func(op, path string) error {
	return func(string, string) error {
		if n--; n < 0 {
			return errKilled
		}
		return nil
	}
}

func write(name, content string, opts *Options) error {
	f, err := Create(name, opts)
	if err != nil {
		return err
	}
	defer f.Abort()
	half := len(content) / 2
	if _, err := f.Write([]byte(content[:half])); err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(content[half:]), int64(half)); err != nil {
		return err
	}
	return f.Commit()
}

// others returns the names in dir except name.
func others(t *testing.T, name string) (left []string) {
	entries, err := os.ReadDir(filepath.Dir(name))
	require.NoError(t, err)
	for _, e := range entries {
		if e.Name() != filepath.Base(name) {
			left = append(left, e.Name())
		}
	}
	return left
}

func TestKilledAtEveryStep(t *testing.T) {
	for _, old := range []string{"", "old content"} {
		for n := 0; ; n++ {
			name := filepath.Join(t.TempDir(), "model.safetensors")
			if old != "" {
				require.NoError(t, os.WriteFile(name, []byte(old), 0o640))
			}
			err := write(name, "new content", &Options{Step: killAfter(n)})
			got, readErr := os.ReadFile(name)
			if errors.Is(readErr, fs.ErrNotExist) {
				require.Empty(t, old, "step %d lost the old file", n)
			} else {
				require.NoError(t, readErr)
				require.Contains(t, []string{old, "new content"}, string(got), "step %d", n)
			}
			for _, left := range others(t, name) {
				require.True(t, IsTemp(left), left)
				require.False(t, strings.HasSuffix(left, ".safetensors"))
			}
			if err == nil {
				require.Equal(t, "new content", string(got))
				require.Empty(t, others(t, name))
				require.Greater(t, n, 6, "the steps were not counted")
				break
			}
			require.ErrorIs(t, err, errKilled)
		}
	}
}

func TestAbort(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	require.NoError(t, os.WriteFile(name, []byte("old"), 0o600))
	f, err := Create(name, nil)
	require.NoError(t, err)
	_, err = f.Write([]byte("new"))
	require.NoError(t, err)
	require.NoError(t, f.Abort())
	require.NoError(t, f.Abort(), "twice")
	require.ErrorIs(t, f.Commit(), fs.ErrClosed)
	got, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
	require.Empty(t, others(t, name))
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	dir := t.TempDir()
	kept := filepath.Join(dir, "kept")
	require.NoError(t, os.WriteFile(kept, nil, 0o600))
	require.NoError(t, os.Chmod(kept, 0o664))
	require.NoError(t, write(kept, "x", nil))
	info, err := os.Stat(kept)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o664), info.Mode())

	plain, fresh := filepath.Join(dir, "plain"), filepath.Join(dir, "fresh")
	require.NoError(t, os.WriteFile(plain, nil, 0o666))
	require.NoError(t, write(fresh, "x", nil))
	want, err := os.Stat(plain)
	require.NoError(t, err)
	info, err = os.Stat(fresh)
	require.NoError(t, err)
	require.Equal(t, want.Mode(), info.Mode(), "a new file has the mode of any new file")
}

func TestSymlinkIsReplaced(t *testing.T) {
	dir := t.TempDir()
	blob, link := filepath.Join(dir, "blob"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(blob, []byte("old"), 0o600))
	if err := os.Symlink(blob, link); err != nil {
		t.Skip(err)
	}
	require.NoError(t, write(link, "new", nil))
	got, err := os.ReadFile(blob)
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.True(t, info.Mode().IsRegular())
}

func TestNotAFile(t *testing.T) {
	_, err := Create(t.TempDir(), nil)
	require.ErrorContains(t, err, "not a regular file")
	_, err = Create(filepath.Join(t.TempDir(), "no", "such"), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestRenameRefused(t *testing.T) {
	refuse := func(op, _ string) error {
		if op == "rename" {
			return &os.LinkError{Op: "rename", Err: syscall.ENOSYS}
		}
		return nil
	}
	name := filepath.Join(t.TempDir(), "a")
	require.NoError(t, write(name, "first", &Options{Step: refuse}), "nothing to lose: copied")
	require.Empty(t, others(t, name))

	err := write(name, "second", &Options{Step: refuse})
	require.ErrorIs(t, err, errors.ErrUnsupported)
	got, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, "first", string(got), "the old file stays unless InPlace allows")
	require.Empty(t, others(t, name))

	require.NoError(t, write(name, "third", &Options{Step: refuse, InPlace: true}))
	got, err = os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, "third", string(got))
	require.Empty(t, others(t, name))
}

func TestReadFromFile(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	require.NoError(t, os.WriteFile(src, []byte("0123456789"), 0o600))
	in, err := os.Open(src)
	require.NoError(t, err)
	defer in.Close()
	f, err := Create(filepath.Join(dir, "dst"), nil)
	require.NoError(t, err)
	_, err = f.Write([]byte("head "))
	require.NoError(t, err)
	n, err := f.ReadFrom(in)
	require.NoError(t, err)
	require.EqualValues(t, 10, n)
	require.NoError(t, f.Commit())
	got, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	require.Equal(t, "head 0123456789", string(got))
}
