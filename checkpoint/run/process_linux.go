package run

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FindProcesses returns the processes that train into a run: the ranks where
// there are a launcher and ranks.
func FindProcesses(dir string, o *SaveOptions) ([]Process, error) {
	if len(o.PIDs) > 0 {
		var found []Process
		for _, pid := range o.PIDs {
			p, err := readProcess(pid)
			if err != nil {
				return nil, err
			}
			found = append(found, *p)
		}
		return found, nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || self(pid) {
			continue
		}
		p, err := readProcess(pid)
		if err != nil || len(p.CommandLine) == 0 || isShell(p.CommandLine[0]) {
			continue // gone, not ours to read, or a kernel thread
		}
		if p.trains(dir, o.Match) {
			found = append(found, *p)
		}
	}
	ranks := slices.DeleteFunc(slices.Clone(found), func(p Process) bool { return p.Launcher })
	if len(ranks) == 0 {
		return nil, fmt.Errorf("no process trains into %s: give --match with a part of its command line, or --pid", dir)
	}
	// Data loaders are children of a rank with the same command line.
	main := slices.DeleteFunc(slices.Clone(ranks), func(p Process) bool {
		return slices.ContainsFunc(ranks, func(q Process) bool { return q.PID == p.parent })
	})
	return main, nil
}

func readProcess(pid int) (*Process, error) {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	text, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	if err != nil {
		return nil, fmt.Errorf("PID %d: %w", pid, err)
	}
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return nil, fmt.Errorf("PID %d: %w", pid, err)
	}
	p := &Process{PID: pid}
	for arg := range bytes.SplitSeq(bytes.TrimRight(text, "\x00"), []byte{0}) {
		if len(arg) > 0 || len(p.CommandLine) > 0 {
			p.CommandLine = append(p.CommandLine, string(arg))
		}
	}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "PPid":
			p.parent, _ = strconv.Atoi(value)
		case "SigCgt":
			mask, err := strconv.ParseUint(value, 16, 64)
			p.CatchesUSR1 = err == nil && mask&(1<<(unix.SIGUSR1-1)) != 0
		case "State":
			if strings.HasPrefix(value, "Z") {
				return nil, fmt.Errorf("PID %d has ended", pid)
			}
		}
	}
	p.Launcher = isLauncher(p.CommandLine)
	return p, nil
}

// trains reports whether the command line names what is looked for.
func (p *Process) trains(dir, match string) bool {
	if match != "" {
		return strings.Contains(strings.Join(p.CommandLine, " "), match)
	}
	want, err := os.Stat(dir)
	if err != nil {
		return false
	}
	cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(p.PID), "cwd"))
	if err != nil {
		return false
	}
	for i, arg := range p.CommandLine {
		value, glued := "", false
		for _, name := range []string{"--output_dir", "--output-dir"} {
			if v, ok := strings.CutPrefix(arg, name+"="); ok {
				value, glued = v, true
			} else if arg == name && i+1 < len(p.CommandLine) {
				value = p.CommandLine[i+1]
			}
		}
		if value == "" && !glued && strings.ContainsRune(arg, '/') && !strings.HasPrefix(arg, "-") {
			value = arg // a positional argument that is the run itself
		}
		if value == "" {
			continue
		}
		if !filepath.IsAbs(value) {
			value = filepath.Join(cwd, value)
		}
		if info, err := os.Stat(value); err == nil && os.SameFile(info, want) {
			return true
		}
	}
	return false
}

// isLauncher tells what starts the ranks and does not pass SIGUSR1 on.
func isLauncher(args []string) bool {
	for _, arg := range args[:min(len(args), 4)] {
		switch filepath.Base(arg) {
		case "torchrun", "accelerate", "deepspeed", "launch.py", "mpirun", "srun",
			"torch.distributed.run", "torch.distributed.launch", "accelerate.commands.launch", "deepspeed.launcher.runner", "deepspeed.launcher.launch":
			return true
		}
		if strings.HasSuffix(arg, ".py") {
			return filepath.Base(arg) == "launch.py"
		}
	}
	return false
}

func isShell(program string) bool {
	switch strings.TrimPrefix(filepath.Base(program), "-") {
	case "sh", "bash", "dash", "zsh", "fish", "tee", "tail", "less", "vim", "nano", "grep", "watch", "ssh", "tmux", "screen", "timeout", "nohup":
		return true
	}
	return false
}

// signalUSR1 sends through a pidfd and looks once more, so that the signal cannot
// reach another process that has taken the number since.
func signalUSR1(p Process) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ENOSYS) {
		return unix.Kill(p.PID, unix.SIGUSR1)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	now, err := readProcess(p.PID)
	if err != nil {
		return err
	}
	if !slices.Equal(now.CommandLine, p.CommandLine) {
		return errors.New("is another process now")
	}
	if !now.CatchesUSR1 {
		return ErrNotCaught
	}
	return unix.PidfdSendSignal(fd, unix.SIGUSR1, nil, 0)
}

func alive(pid int) bool {
	_, err := readProcess(pid)
	return err == nil
}
