//go:build unix

// Command compare measures this library beside the reference implementation, the
// Rust crate safetensors, and its Python package. What is compared runs in turns,
// so that a busy machine is busy for all.
//
//	go run ./bench/compare
//
// The Rust program is that of SAFECKPT_RUSTREF, else it is built with cargo from
// bench/rustref. Python takes part if SAFECKPT_PYTHON names an interpreter with
// the package. Either is left out, with a note, where it is missing.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"
)

func main() {
	log.SetFlags(0)
	debug.SetGCPercent(100) // the default, whatever the environment says
	rounds := flag.Int("rounds", 25, "how many times each takes its turn")
	dir := flag.String("dir", "", "where the files are made, some of them large but sparse (default: a temporary directory)")
	only := flag.String("only", "", "expect: leave the rest out")
	flag.Parse()
	if os.Getenv(firstExpect) != "" {
		if err := printFirst(); err != nil {
			log.Fatal(err)
		}
		return
	}
	if err := run(*rounds, *dir, *only); err != nil {
		log.Fatal(err)
	}
}

func run(rounds int, dir, only string) error {
	dir, err := os.MkdirTemp(dir, "safeckpt-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if only == "expect" {
		return compareExpect(rounds)
	}
	rustref, err := findRustref()
	if err != nil {
		return err
	}
	python := os.Getenv("SAFECKPT_PYTHON")
	if python == "" {
		log.Print("LEFT OUT: Python; set SAFECKPT_PYTHON to an interpreter that has safetensors and numpy")
	}
	fmt.Printf("%s, %d cores, %s %s; %d rounds\n", time.Now().Format(time.DateOnly), runtime.NumCPU(), runtime.GOOS+"/"+runtime.GOARCH, runtime.Version(), rounds)

	for _, h := range []struct {
		tensors, batch int
		goal           float64
	}{{100_000, 1, 0.5}, {729, 50, 1}} {
		if err := compareDecoders(dir, h.tensors, h.batch, rounds, h.goal, rustref, python); err != nil {
			return err
		}
	}
	if err := compareSizes(dir, rounds); err != nil {
		return err
	}
	if err := compareWidening(dir, rounds); err != nil {
		return err
	}
	return compareExpect(rounds)
}

// findRustref returns the path of the Rust program, "" if there is none.
func findRustref() (string, error) {
	if name := os.Getenv("SAFECKPT_RUSTREF"); name != "" {
		return name, nil
	}
	_, source, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(source), "..", "rustref")
	if _, err := exec.LookPath("cargo"); err != nil {
		log.Print("LEFT OUT: Rust; set SAFECKPT_RUSTREF to the program of bench/rustref, or install cargo")
		return "", nil
	}
	build := exec.Command("cargo", "build", "--release", "--locked", "--quiet")
	build.Dir, build.Stderr = dir, os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("building %s: %w", dir, err)
	}
	return filepath.Join(dir, "target", "release", "rustref"), nil
}
