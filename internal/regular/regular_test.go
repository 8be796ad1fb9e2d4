package regular_test

import (
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/internal/regular"
)

func TestProblem(t *testing.T) {
	fsys := fstest.MapFS{
		"file":   {},
		"dir":    {Mode: fs.ModeDir},
		"pipe":   {Mode: fs.ModeNamedPipe},
		"socket": {Mode: fs.ModeSocket},
		"tty":    {Mode: fs.ModeDevice | fs.ModeCharDevice},
	}
	for name, want := range map[string]string{"dir": "a directory", "pipe": "a named pipe", "socket": "a socket", "tty": "a device"} {
		info, err := fs.Stat(fsys, name)
		require.NoError(t, err)
		err = fmt.Errorf("opening: %w", regular.Check(name, info))
		require.ErrorContains(t, err, "it is "+want+", not a file")
		p, ok := regular.Problem(name, err)
		require.True(t, ok)
		require.Equal(t, name+" is "+want+", not a file", p.Message)
		require.NotEmpty(t, p.Cause)
		require.Contains(t, p.Fix, name)
	}
	info, err := fs.Stat(fsys, "file")
	require.NoError(t, err)
	require.NoError(t, regular.Check("file", info))
	_, ok := regular.Problem("file", fs.ErrNotExist)
	require.False(t, ok)
	_, ok = regular.Problem("file", nil)
	require.False(t, ok)
}
