package run

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
)

func TestWatcher(t *testing.T) {
	dir := copyRun(t, "trainer-full-all")
	w := NewWatcher([]string{filepath.Dir(dir)}, &WatchOptions{Quiet: time.Millisecond})
	look := func() []Event {
		time.Sleep(2 * time.Millisecond)
		events, all, err := w.Look(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 1)
		return events
	}
	events := look()
	require.Len(t, events, 4)
	for _, e := range events {
		require.True(t, e.Result.Valid())
	}
	require.Empty(t, look(), "all is known")

	// A save in progress is left alone until its last file is there.
	require.NoError(t, os.CopyFS(filepath.Join(dir, "checkpoint-50"), os.DirFS(filepath.Join(dir, "checkpoint-40"))))
	state := filepath.Join(dir, "checkpoint-50/trainer_state.json")
	text, err := os.ReadFile(state)
	require.NoError(t, err)
	require.NoError(t, os.Remove(state))
	events = look()
	require.Len(t, events, 1)
	require.Equal(t, diag.LatestNotUsable, events[0].Problem.Code)
	require.NoError(t, os.Truncate(filepath.Join(dir, "checkpoint-50/model.safetensors"), 500))
	require.NoError(t, os.WriteFile(state, []byte(strings.Replace(string(text), `"global_step": 40`, `"global_step": 50`, 1)), 0o644))
	events = look()
	require.False(t, events[0].Result.Valid())
	require.True(t, events[0].Result.Report.Has(diag.FileTruncated))

	require.NoError(t, os.RemoveAll(filepath.Join(dir, "checkpoint-10")))
	events = look()
	require.Len(t, events, 1)
	require.True(t, events[0].Gone)
}

func TestWriteOpenMetrics(t *testing.T) {
	dir := copyRun(t, "trainer-full-all")
	_, all, err := NewWatcher([]string{dir}, nil).Look(t.Context())
	require.NoError(t, err)
	var b strings.Builder
	require.NoError(t, WriteOpenMetrics(&b, all))
	require.Contains(t, b.String(), "\nsafeckpt_checkpoints{run=\""+label(all[0].Run.Dir)+"\"} 4\n")
	require.Contains(t, b.String(), "safeckpt_latest_usable_step{run=")
	require.True(t, strings.HasSuffix(b.String(), "\n# EOF\n"))
	require.Equal(t, `a\\b\"c\nd`, label("a\\b\"c\nd"))
}
