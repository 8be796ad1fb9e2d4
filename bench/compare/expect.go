//go:build unix

package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/safeckpt/safeckpt/hfconfig"
)

//go:embed testdata/deepseek-v3.json
var deepseek []byte

//go:embed testdata/qwen2.5-vl-72b.json
var qwen []byte

// firstExpect makes this program expect the tensors of Qwen2.5-VL-72B, print
// what that took, and end: only in a new process no schema has been read.
const firstExpect = "SAFECKPT_BENCH_FIRST"

// expect is the way from the text of config.json to a map of tensors.
func expect(config []byte) (map[string][]uint64, error) {
	c, err := hfconfig.Parse(config)
	if err != nil {
		return nil, err
	}
	x, err := hfconfig.Builtin().Expect(c, nil)
	if err != nil {
		return nil, err
	}
	return x.Tensors(hfconfig.Save), nil
}

func printFirst() error {
	cpu, start := cpuTime(), time.Now()
	m, err := expect(qwen)
	took, used := time.Since(start), cpuTime()-cpu
	if err == nil {
		fmt.Printf("%d %d %d\n", took, used, len(m))
	}
	return err
}

// first runs printFirst in new processes.
func first() *contender {
	return &contender{name: "config.json to a map, first schema read", do: func(n int) ([]sample, error) {
		samples := make([]sample, n)
		for i := range samples {
			cmd := exec.Command("/proc/self/exe")
			if self, err := os.Executable(); err == nil {
				cmd.Path = self
			}
			cmd.Env, cmd.Stderr = append(os.Environ(), firstExpect+"=1"), os.Stderr
			out, err := cmd.Output()
			if err != nil {
				return nil, err
			}
			var tensors int
			s := &samples[i]
			if _, err := fmt.Sscanln(string(out), &s.wall, &s.cpu, &tensors); err != nil {
				return nil, err
			}
			s.released = s.cpu
		}
		return samples, nil
	}}
}

// compareExpect measures hfconfig beside a plain map of the same names and shapes.
func compareExpect(rounds int) error {
	for _, model := range []struct {
		name   string
		config []byte
		batch  int
		unit   time.Duration
	}{{"DeepSeek-V3", deepseek, 1, time.Millisecond}, {"Qwen2.5-VL-72B", qwen, 20, time.Microsecond}} {
		c, err := hfconfig.Parse(model.config)
		if err != nil {
			return err
		}
		x, err := hfconfig.Builtin().Expect(c, nil)
		if err != nil {
			return err
		}
		all := slices.Collect(x.All(hfconfig.Save))
		if len(all) != len(x.Tensors(hfconfig.Save)) {
			return fmt.Errorf("%s: %d names are not different", model.name, len(all))
		}
		build := func(n int) func() (map[string][]uint64, error) {
			return func() (map[string][]uint64, error) {
				m := make(map[string][]uint64, n)
				for _, t := range all {
					m[strings.Clone(t.Name)] = slices.Clone(t.Shape)
				}
				return m, nil
			}
		}
		fmt.Printf("\n### Tensors of %s from its config.json: %d\n\n", model.name, len(all))
		whole := ours("config.json to a map", func() (map[string][]uint64, error) { return expect(model.config) })
		plain := ours("plain map", build(0))
		contenders := []*contender{whole, plain, ours("plain map, made large enough", build(len(all))), ours("config.json to an iterator, run through", func() (int, error) {
			c, err := hfconfig.Parse(model.config)
			if err != nil {
				return 0, err
			}
			x, err := hfconfig.Builtin().Expect(c, nil)
			if err != nil {
				return 0, err
			}
			n := 0
			for range x.All(hfconfig.Save) {
				n++
			}
			return n, nil
		})}
		if err := compete(contenders, rounds, model.batch); err != nil {
			return err
		}
		table(contenders, model.unit)
		verdict("config.json to a map / plain map, CPU", ratio(whole, plain, cpu), 2)
		verdict("config.json to a map / plain map, CPU, result released", ratio(whole, plain, released), 2)
	}
	f := first()
	if err := compete([]*contender{f}, rounds, 5); err != nil {
		return err
	}
	fmt.Println("\n### Qwen2.5-VL-72B in a new process")
	fmt.Println()
	table([]*contender{f}, time.Millisecond)
	ms := f.of(wall)
	for i := range ms {
		ms[i] /= float64(time.Millisecond)
	}
	verdict("config.json to a map, first schema read, wall, ms", spreadOf(ms), 5)
	return nil
}
