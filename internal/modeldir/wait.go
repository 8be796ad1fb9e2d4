package modeldir

import "time"

// Wait returns what wait returns, and meanwhile calls progress ten times a second,
// and once at the end, from the caller's goroutine. A nil progress is not called.
func Wait(wait func() error, progress func()) error {
	if progress == nil {
		return wait()
	}
	ended := make(chan error, 1)
	go func() { ended <- wait() }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			progress()
			return err
		case <-tick.C:
			progress()
		}
	}
}
