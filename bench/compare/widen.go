//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/safeckpt/safeckpt/safetensors"
)

// compareWidening widens 16-bit floats to float32, from memory and from a file,
// beside a loop that copies as many float32 as come out.
func compareWidening(dir string, rounds int) error {
	const n = 4 << 20
	weights, dst := make([]float32, n), make([]float32, n)
	for i := range weights {
		weights[i] = float32(0.05 * math.Sin(float64(i)))
	}
	loop := ours("copy loop", func() (float32, error) { copyLoop(dst, weights); return dst[0], nil })
	contenders := []*contender{loop, ours("copy", func() (int, error) { return copy(dst, weights), nil })}
	for _, d := range []safetensors.DType{safetensors.BF16, safetensors.F16} {
		data, err := safetensors.EncodeFloat32(nil, d, weights)
		if err != nil {
			return err
		}
		contenders = append(contenders, ours(fmt.Sprintf("DecodeFloat32, %s", d), func() ([]float32, error) {
			return safetensors.DecodeFloat32(dst[:0], d, data)
		}))
		name := filepath.Join(dir, d.String())
		info := safetensors.TensorInfo{Name: "weight", DType: d, Shape: []uint64{n}}
		if err := safetensors.WriteFile(context.Background(), name, []safetensors.TensorData{{TensorInfo: info, Data: bytes.NewReader(data)}}, nil, nil); err != nil {
			return err
		}
		file, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		inMemory, err := safetensors.NewFile(bytes.NewReader(file), int64(len(file)), nil)
		if err != nil {
			return err
		}
		defer inMemory.Close()
		onDisk, err := safetensors.Open(name, nil)
		if err != nil {
			return err
		}
		defer onDisk.Close()
		for _, f := range []struct {
			where string
			*safetensors.File
		}{{"memory", inMemory}, {"a file", onDisk}} {
			t, err := f.Tensor("weight")
			if err != nil {
				return err
			}
			contenders = append(contenders, ours(fmt.Sprintf("AppendFloat32, %s in %s", d, f.where), func() ([]float32, error) {
				return safetensors.AppendFloat32(dst[:0], t)
			}))
		}
	}
	if err := compete(contenders, rounds, 5); err != nil {
		return err
	}
	fmt.Printf("\n## Widening of %d 16-bit floats to float32\n\n", n)
	table(contenders, time.Millisecond)
	for _, c := range contenders[2:] {
		verdict(c.name+" / copy loop, CPU", ratio(c, loop, cpu), 2)
	}
	return nil
}

// copyLoop is a function of its own so that its speed does not hang on where the
// linker puts the loop.
//
//go:noinline
func copyLoop(dst, src []float32) {
	src = src[:len(dst)]
	for i := range dst {
		dst[i] = src[i]
	}
}
