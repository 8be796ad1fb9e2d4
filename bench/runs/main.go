// Command runs measures `safeckpt runs usage` beside `du -s` on 100,000 files,
// and `safeckpt runs list` beside `find -ls` on 1,000 checkpoints of 30 files:
// whole processes, warm, in turns within one round, so that a busy machine is
// busy for all.
//
//	go run ./bench/runs [-rounds N]
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	rounds := flag.Int("rounds", 15, "how often each takes its turn")
	flag.Parse()
	if err := run(*rounds); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A cost is what one process took.
type cost struct{ wall, cpu time.Duration }

func run(rounds int) error {
	work, err := os.MkdirTemp("", "safeckpt-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	tool, tree, steps := filepath.Join(work, "safeckpt"), filepath.Join(work, "tree"), filepath.Join(work, "run")
	if out, err := exec.Command("go", "build", "-o", tool, "./examples/safeckpt").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if err := errors.Join(makeTree(tree), makeRun(steps)); err != nil {
		return err
	}
	commands := [][]string{{"du", "-s", tree}, {tool, "runs", "usage", tree}, {"find", steps, "-ls"}, {tool, "runs", "list", steps}}
	costs := make([][]cost, len(commands))
	for round := range rounds + 1 {
		for i, args := range commands {
			c, err := measure(args)
			if err != nil {
				return err
			}
			if round > 0 { // the first is for the caches
				costs[i] = append(costs[i], c)
			}
		}
	}
	fmt.Printf("%d processors, %d rounds; min / median / max\n\n| | wall, ms | CPU, ms |\n| --- | --- | --- |\n", runtime.NumCPU(), rounds)
	for i, name := range []string{"du -s", "runs usage", "find -ls", "runs list"} {
		fmt.Printf("| %s | %s | %s |\n", name, spread(costs[i], wall, "%.0f"), spread(costs[i], cpu, "%.0f"))
	}
	n := float64(min(runtime.NumCPU(), 4))
	fmt.Printf("\n- du / usage, wall: %s, goal at least %.1f\n", ratios(costs[0], costs[1], wall), 0.8*n)
	fmt.Printf("- du / usage, CPU: %s, times %.0f processors\n", ratios(costs[0], costs[1], cpu), n)
	fmt.Printf("- list / find, wall: %s, goal at most 2\n", ratios(costs[3], costs[2], wall))
	fmt.Printf("- list / find, CPU: %s, on %.0f processors\n", ratios(costs[3], costs[2], cpu), n)
	return nil
}

func wall(c cost) float64 { return c.wall.Seconds() * 1000 }
func cpu(c cost) float64  { return c.cpu.Seconds() * 1000 }

func measure(args []string) (cost, error) {
	cmd := exec.Command(args[0], args[1:]...)
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err != nil {
		return cost{}, fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return cost{took, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}, nil
}

func spread(costs []cost, of func(cost) float64, format string) string {
	values := make([]float64, len(costs))
	for i, c := range costs {
		values[i] = of(c)
	}
	slices.Sort(values)
	all := []string{}
	for _, v := range []float64{values[0], values[len(values)/2], values[len(values)-1]} {
		all = append(all, fmt.Sprintf(format, v))
	}
	return strings.Join(all, " / ")
}

// ratios divides round by round.
func ratios(a, b []cost, of func(cost) float64) string {
	quotients := make([]cost, len(a))
	for i := range a {
		quotients[i].wall = time.Duration(of(a[i]) / of(b[i]) * float64(time.Second))
	}
	return spread(quotients, func(c cost) float64 { return c.wall.Seconds() }, "%.2f")
}

// makeTree makes 1,000 directories of 100 files.
func makeTree(dir string) error {
	for i := range 1000 {
		sub := filepath.Join(dir, fmt.Sprint(i))
		if err := os.MkdirAll(sub, 0o777); err != nil {
			return err
		}
		for j := range 100 {
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(j)), nil, 0o666); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeRun makes 1,000 checkpoints of a real one's files and others to make 30.
func makeRun(dir string) error {
	from := os.DirFS("testdata/checkpoints/trainer-full-all/checkpoint-10")
	for i := 1; i <= 1000; i++ {
		step := filepath.Join(dir, fmt.Sprintf("checkpoint-%d", i))
		if err := os.CopyFS(step, from); err != nil {
			return err
		}
		name := filepath.Join(step, "trainer_state.json")
		state, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		state = []byte(strings.Replace(string(state), `"global_step": 10`, fmt.Sprintf(`"global_step": %d`, i), 1))
		if err := os.WriteFile(name, state, 0o666); err != nil {
			return err
		}
		entries, err := os.ReadDir(step)
		if err != nil {
			return err
		}
		for j := len(entries); j < 30; j++ {
			if err := os.WriteFile(filepath.Join(step, fmt.Sprintf("other-%d.txt", j)), nil, 0o666); err != nil {
				return err
			}
		}
	}
	return nil
}
