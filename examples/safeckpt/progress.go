package main

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
)

// newProgress returns a callback that draws a bar with rate and time left on a
// terminal, nil where there is none, and a function that takes the bar away.
func newProgress(w io.Writer, title string) (progress func(done, total int64), clear func()) {
	f, ok := w.(*os.File)
	if !ok || !isTerminal(f) {
		return nil, func() {}
	}
	var bar *progressbar.ProgressBar
	progress = func(done, total int64) {
		if bar == nil || bar.GetMax64() != total { // each target has a total of its own
			bar = progressbar.NewOptions64(total,
				progressbar.OptionSetWriter(w),
				progressbar.OptionSetDescription(title),
				progressbar.OptionShowBytes(true),
				progressbar.OptionUseIECUnits(false),
				progressbar.OptionThrottle(100*time.Millisecond),
				progressbar.OptionClearOnFinish(),
			)
		}
		_ = bar.Set64(done) // a bar that cannot be drawn is no reason to stop
	}
	return progress, func() {
		if bar != nil {
			_ = bar.Clear()
		}
	}
}
