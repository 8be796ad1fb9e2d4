// Command safeckpt says of training checkpoints whether they are whole and
// right, and if not, what is wrong, why, and what to do.
//
// Exit status: 0 all is well, 1 problems were found, 2 it could not check or was
// called wrongly.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/alecthomas/kong"
)

// The exit statuses.
const (
	statusOK      = 0
	statusProblem = 1
	statusFailed  = 2
)

// cli is the program: one field and one file per sub-command.
type cli struct {
	Verify  verifyCmd  `cmd:"" help:"Say whether checkpoints are whole and right; if not, what is wrong, why, and what to do."`
	Inspect inspectCmd `cmd:"" help:"Show the header of a safetensors file, or of all of a directory's."`
	Expect  expectCmd  `cmd:"" help:"Show the tensors that a config.json calls for."`

	MergeZero     mergeZeroCmd     `cmd:"" name:"merge-zero" help:"Merge DeepSpeed ZeRO shards into safetensors."`
	MergeLoRA     mergeLoRACmd     `cmd:"" name:"merge-lora" help:"Merge a LoRA adapter into its base model."`
	RenameAdapter renameAdapterCmd `cmd:"" name:"rename-adapter" help:"Copy an adapter with names that fit its base."`

	Runs  runsCmd  `cmd:"" help:"Look after training runs: list, rotate, keep, clean, disk, resume, save."`
	Watch watchCmd `cmd:"" help:"Follow runs: new checkpoints verified, disk use, what the next save deletes."`
}

// env is what the program reads and writes.
type env struct {
	ctx            context.Context
	stdout, stderr io.Writer
	color          bool
}

// A command returns its exit status; an error means statusFailed.
type command interface {
	run(e *env) (int, error)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(execute(&env{ctx, os.Stdout, os.Stderr, wantColor(os.Stdout)}, os.Args[1:]))
}

func execute(e *env, args []string) int {
	var c cli
	exited := -1 // set when --help has been printed
	parser, err := kong.New(&c,
		kong.Name("safeckpt"),
		kong.Description("Read, validate and manage machine-learning training checkpoints in the safetensors format."),
		kong.Writers(e.stdout, e.stderr),
		kong.Exit(func(status int) { exited = status }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, Summary: true}),
	)
	if err != nil {
		return fail(e, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		fmt.Fprintf(e.stderr, "safeckpt: %v (see safeckpt --help)\n", err)
		return statusFailed
	}
	out := bufio.NewWriter(e.stdout)
	buffered := *e
	buffered.stdout = out
	status, err := parsed.Selected().Target.Addr().Interface().(command).run(&buffered)
	// Results that could not be written, to a full disk, are not results.
	if err = errors.Join(err, out.Flush()); err != nil {
		return fail(e, err)
	}
	return status
}

func fail(e *env, err error) int {
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	fmt.Fprintf(e.stderr, "safeckpt: %v\n", err)
	return statusFailed
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// wantColor follows https://no-color.org and asks for a terminal.
func wantColor(f *os.File) bool {
	return isTerminal(f) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
