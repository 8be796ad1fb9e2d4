//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/safeckpt/safeckpt/safetensors"
)

// compareSizes opens a file of 100 GB, which is holes, and one whose header has
// the same names and length but little data.
func compareSizes(dir string, rounds int) error {
	const n, rows = 729, 100_000_000_000 / 729 / 4
	_, length := header(n, rows, 0)
	var contenders []*contender
	for _, f := range []struct {
		name string
		rows uint64
	}{{"small", 2}, {"large", rows}} {
		name := filepath.Join(dir, f.name)
		head, _ := header(n, f.rows, length)
		if err := os.WriteFile(name, head, 0o644); err != nil {
			return err
		}
		size := int64(len(head)) + int64(n*4*f.rows)
		if err := os.Truncate(name, size); err != nil {
			return err
		}
		contenders = append(contenders, ours(fmt.Sprintf("Open, View of the last tensor, Close: %.6g MB", float64(size)/1e6), func() (int, error) {
			return openLast(name)
		}))
	}
	if err := compete(contenders, rounds, 50); err != nil {
		return err
	}
	fmt.Printf("\n## A large file\n\n")
	table(contenders, time.Microsecond)
	verdict("large / small, wall", ratio(contenders[1], contenders[0], wall), 1.05)
	verdict("large / small, CPU", ratio(contenders[1], contenders[0], cpu), 1.05)
	return nil
}

// openLast opens a file and views its last tensor.
func openLast(name string) (n int, err error) {
	f, err := safetensors.Open(name, nil)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	tensors := f.Header().Tensors
	t, err := f.Tensor(tensors[len(tensors)-1].Name)
	if err != nil {
		return 0, err
	}
	values, err := safetensors.View[safetensors.BFloat16](t)
	return len(values), err
}
