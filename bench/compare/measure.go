//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// A sample is what one operation took.
type sample struct {
	wall time.Duration
	// cpu is the processor time of the whole process; released is cpu until the
	// result is given back as well: dropped, or collected by a forced GC.
	cpu, released time.Duration
}

// A contender does one operation again and again.
type contender struct {
	name string
	do   func(n int) ([]sample, error) // n times in a row
	all  [][]sample                    // by round
}

// compete gives each contender its turn in every round, after one to warm up.
// Every other round goes backwards, so that nobody always follows the same one.
func compete(contenders []*contender, rounds, batch int) error {
	for round := -1; round < rounds; round++ {
		for i := range contenders {
			c := contenders[i]
			if round%2 == 0 {
				c = contenders[len(contenders)-1-i]
			}
			samples, err := c.do(batch)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if round >= 0 {
				c.all = append(c.all, samples)
			}
		}
	}
	return nil
}

// ours measures a function of this process. Its result is kept until it is timed.
func ours[T any](name string, f func() (T, error)) *contender {
	return &contender{name: name, do: func(n int) ([]sample, error) {
		samples := make([]sample, n)
		for i := range samples {
			cpu, start := cpuTime(), time.Now()
			result, err := f()
			if err != nil {
				return nil, err
			}
			samples[i] = sample{wall: time.Since(start), cpu: cpuTime() - cpu}
			runtime.KeepAlive(result)
		}
		// One collection for all: a program does not collect after each, either.
		cpu := cpuTime()
		runtime.GC()
		collection := (cpuTime() - cpu) / time.Duration(n)
		for i := range samples {
			samples[i].released = samples[i].cpu + collection
		}
		return samples, nil
	}}
}

// peer starts a program that does the operation once for every line that it
// reads, and answers each with "WALL CPU RELEASED" in nanoseconds. The program
// ends when stop is called.
func peer(name string, cmd *exec.Cmd) (c *contender, stop func() error, err error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	answers := bufio.NewReader(out)
	do := func(n int) ([]sample, error) {
		if _, err := in.Write(slices.Repeat([]byte{'\n'}, n)); err != nil {
			return nil, err
		}
		samples := make([]sample, n)
		for i := range samples {
			s := &samples[i]
			if _, err := fmt.Fscanln(answers, &s.wall, &s.cpu, &s.released); err != nil {
				return nil, err
			}
		}
		return samples, nil
	}
	stop = func() error {
		in.Close()
		_, _ = io.Copy(io.Discard, answers)
		return cmd.Wait()
	}
	return &contender{name: name, do: do}, stop, nil
}

// cpuTime returns what all threads of this process have taken.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A spread is the least, the median and the greatest of some values.
type spread struct{ min, median, max float64 }

func spreadOf(values []float64) spread {
	values = slices.Sorted(slices.Values(values))
	return spread{values[0], values[len(values)/2], values[len(values)-1]}
}

func (s spread) in(unit time.Duration) string {
	u := float64(unit)
	return fmt.Sprintf("%.3g / %.3g / %.3g", s.min/u, s.median/u, s.max/u)
}

func (s spread) String() string { return fmt.Sprintf("%.2f / %.2f / %.2f", s.min, s.median, s.max) }

func wall(s sample) time.Duration     { return s.wall }
func cpu(s sample) time.Duration      { return s.cpu }
func released(s sample) time.Duration { return s.released }

// of returns one value for each round: the median of its samples.
func (c *contender) of(what func(sample) time.Duration) []float64 {
	rounds := make([]float64, len(c.all))
	for i, samples := range c.all {
		values := make([]float64, len(samples))
		for j, s := range samples {
			values[j] = float64(what(s))
		}
		rounds[i] = spreadOf(values).median
	}
	return rounds
}

// ratio returns the spread of a/b over the rounds.
func ratio(a, b *contender, what func(sample) time.Duration) spread {
	x, y := a.of(what), b.of(what)
	for i := range x {
		x[i] /= y[i]
	}
	return spreadOf(x)
}

// table prints a row for each contender.
func table(contenders []*contender, unit time.Duration) {
	fmt.Printf("| min / median / max, %v | wall | CPU | CPU, result released |\n| --- | --- | --- | --- |\n", unit.String()[1:])
	for _, c := range contenders {
		fmt.Printf("| %s | %s | %s | %s |\n", c.name, spreadOf(c.of(wall)).in(unit), spreadOf(c.of(cpu)).in(unit), spreadOf(c.of(released)).in(unit))
	}
	fmt.Println()
}

// verdict prints a ratio and the goal for its median.
func verdict(what string, s spread, goal float64) {
	met := "met"
	if s.median > goal {
		met = "MISSED"
	}
	fmt.Printf("- %s: %s, goal at most %.2f: %s\n", what, s, goal, met)
}
