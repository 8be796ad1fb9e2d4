// Package peakheap measures what tests promise of memory.
package peakheap

import (
	"runtime"
	"runtime/metrics"
	"time"
)

// During returns by how many bytes the heap grows at most, garbage included,
// while fn runs. It looks every 200 microseconds; other goroutines count too.
func During(fn func()) int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	runtime.GC()
	metrics.Read(sample)
	before := int64(sample[0].Value.Uint64())
	done, result := make(chan struct{}), make(chan int64)
	go func() {
		most := before
		for {
			metrics.Read(sample)
			most = max(most, int64(sample[0].Value.Uint64()))
			select {
			case <-done:
				result <- most - before
				return
			case <-time.After(200 * time.Microsecond):
			}
		}
	}()
	fn()
	close(done)
	return <-result
}
