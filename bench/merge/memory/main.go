// Command memory merges a ZeRO checkpoint and prints how much memory that took at
// most: live and dead objects on the heap, and the process's anonymous pages.
//
//	go run ./bench/merge/memory CHECKPOINT OUT [f32|bf16|f16]
//
// Pages of files, which the kernel can drop at any time, do not count. The
// anonymous pages are those of Linux's smaps_rollup.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime/metrics"
	"strconv"
	"time"

	"github.com/safeckpt/safeckpt/checkpoint/zero"
	"github.com/safeckpt/safeckpt/safetensors"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: memory CHECKPOINT OUT [f32|bf16|f16]")
	}
	o := &zero.MergeOptions{}
	if len(args) > 2 {
		o.DType = map[string]safetensors.DType{"f32": safetensors.F32, "bf16": safetensors.BF16, "f16": safetensors.F16}[args[2]]
	}
	stop, peaks := make(chan struct{}), make(chan [2]uint64)
	go func() { peaks <- watch(stop) }()
	s, err := zero.Open(context.Background(), args[0], nil)
	var stats *zero.MergeStats
	if err == nil {
		stats, err = s.Merge(context.Background(), args[1], o)
	}
	close(stop)
	most := <-peaks
	if err != nil {
		return err
	}
	fmt.Printf("%s: %.2f GB in %v, peak heap %.1f MB, peak anonymous %.1f MB\n", args[0], float64(stats.Bytes)/1e9, stats.Elapsed.Round(time.Millisecond),
		float64(most[0])/1e6, float64(most[1])/1e6)
	return nil
}

// watch samples until stop is closed and returns the largest heap and anonymous
// memory, in bytes.
func watch(stop <-chan struct{}) (most [2]uint64) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	for {
		metrics.Read(sample)
		most[0] = max(most[0], sample[0].Value.Uint64())
		most[1] = max(most[1], anonymous())
		select {
		case <-stop:
			return most
		case <-tick.C:
		}
	}
}

func anonymous() uint64 {
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		if fields := bytes.Fields(line); len(fields) > 1 && string(fields[0]) == "Anonymous:" {
			kb, _ := strconv.ParseUint(string(fields[1]), 10, 64) // written by the kernel
			return kb << 10
		}
	}
	return 0
}
