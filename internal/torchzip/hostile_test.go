package torchzip

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/internal/peakheap"
	"github.com/safeckpt/safeckpt/internal/pickle"
)

// TestHostileCheckpoints reads every rank's file of the broken and hostile
// checkpoints. Those that attack would write a file named pwned-marker.
func TestHostileCheckpoints(t *testing.T) {
	bad, err := filepath.Abs("../../checkpoint/zero/testdata/bad")
	require.NoError(t, err)
	t.Chdir(t.TempDir())
	files, unsafe := 0, 0
	require.NoError(t, filepath.WalkDir(bad, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".pt" {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		grew := peakheap.During(func() {
			var a *Archive
			if a, err = Open(t.Context(), bytes.NewReader(data), int64(len(data))); err == nil {
				_, err = a.Load(t.Context(), nil)
			}
		})
		require.Less(t, grew, int64(64<<20), "%s: %v", path, err)
		if errors.Is(err, pickle.ErrUnsafe) {
			unsafe++
		}
		return nil
	}))
	require.Greater(t, files, 40)
	require.Equal(t, 3, unsafe)
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	require.Empty(t, entries, "something was executed")
}
