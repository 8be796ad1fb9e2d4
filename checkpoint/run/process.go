package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/internal/shell"
)

// SaveOptions says which processes train and how long to wait. Nil means
// defaults.
type SaveOptions struct {
	// Match is a part of the command line, such as "train_grpo.py"; "" means
	// processes that mention the run's directory, or work in one from which their
	// --output_dir leads to it.
	Match string
	// PIDs are the training processes, instead of looking for them.
	PIDs []int
	// Timeout is how long the save may take; 0 means 10 minutes.
	Timeout time.Duration
	// Interval is how often the run is looked at; 0 means a second.
	Interval time.Duration
	// Signalled, if not nil, is called when the signal has been sent.
	Signalled func(pids []int)
}

// A Process is one that trains.
type Process struct {
	PID         int
	CommandLine []string
	CatchesUSR1 bool // SigCgt in /proc/PID/status
	Launcher    bool // torchrun, accelerate launch, deepspeed: it starts the ranks

	parent int
}

// ErrNotCaught is matched by the error of Save when a process does not catch
// SIGUSR1: the signal would end it.
var ErrNotCaught = errors.New("SIGUSR1 is not caught: sending it would END the training. Nothing was sent")

// Save asks the training processes of a run for a checkpoint by SIGUSR1 and waits
// until a new one is complete. It sends nothing unless every process catches the
// signal: the Trainer, DeepSpeed and PEFT do not, only scripts that install a
// handler do. Rank processes are signalled, not their launcher, which does not
// pass SIGUSR1 on. It needs Linux.
func Save(ctx context.Context, dir string, o *SaveOptions) (*Checkpoint, error) {
	opts := SaveOptions{}
	if o != nil {
		opts = *o
	}
	if opts.Timeout == 0 {
		opts.Timeout = 10 * time.Minute
	}
	if opts.Interval == 0 {
		opts.Interval = time.Second
	}
	before, err := Open(ctx, dir, nil)
	if err != nil {
		return nil, err
	}
	processes, err := FindProcesses(dir, &opts)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, p := range processes {
		if !p.CatchesUSR1 {
			return nil, fmt.Errorf("PID %d (%.80s): %w", p.PID, commandText(p.CommandLine), ErrNotCaught)
		}
		pids = append(pids, p.PID)
	}
	sent := time.Now()
	for _, p := range processes {
		if err := signalUSR1(p); err != nil {
			return nil, fmt.Errorf("PID %d: %w", p.PID, err)
		}
	}
	if opts.Signalled != nil {
		opts.Signalled(pids)
	}
	old := make(map[string]time.Time)
	for _, c := range before.Checkpoints {
		if c.trainer != nil {
			old[c.Name] = c.written
		}
	}
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	tick := time.NewTicker(opts.Interval)
	defer tick.Stop()
	for {
		if c := finished(ctx, dir, old, sent, opts.Interval); c != nil {
			return c, nil
		}
		for _, pid := range pids {
			if !alive(pid) {
				return nil, fmt.Errorf("PID %d has ended before a checkpoint was complete", pid)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, fmt.Errorf("no new checkpoint was complete after %s: the handler may only act at the end of a step, or not save", opts.Timeout)
			}
			return nil, ctx.Err()
		}
	}
}

// finished returns a checkpoint that is new, whole and has been quiet.
func finished(ctx context.Context, dir string, old map[string]time.Time, sent time.Time, quiet time.Duration) *Checkpoint {
	r, err := Open(ctx, dir, nil)
	if err != nil {
		return nil // it may be in the middle of being rotated; the next look decides
	}
	for _, c := range slices.Backward(r.Checkpoints) {
		at, had := old[c.Name]
		if had && !c.written.After(at) || c.written.Before(sent.Add(-time.Second)) || time.Since(c.written) < quiet {
			continue
		}
		if c.Usable() && c.trainer != nil && checkpoint.Check(ctx, c.Path, nil) == nil {
			return c
		}
	}
	return nil
}

func commandText(args []string) string {
	text := ""
	for i, a := range args {
		if i > 0 {
			text += " "
		}
		text += shell.Word(a)
	}
	return text
}

// self reports whether a process is this one or the one that started it, whose
// command line names the run too.
func self(pid int) bool { return pid == os.Getpid() || pid == os.Getppid() }
