package run

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/safeckpt/safeckpt/checkpoint"
)

// A Policy is how a run saves.
type Policy struct {
	checkpoint.TrainingArgs
	// Source is where it was read: a path, or "flags".
	Source string
	// Rules are those of the transformers that runs.
	Rules Rules
}

// findPolicy takes the newest training_args.bin that can be read.
func (r *Run) findPolicy(ctx context.Context) {
	if r.Policy != nil {
		return
	}
	dirs := []string{r.Dir}
	byAge := slices.Clone(r.Checkpoints)
	slices.SortStableFunc(byAge, func(a, b *Checkpoint) int { return a.written.Compare(b.written) })
	for _, c := range byAge {
		dirs = append(dirs, c.Path)
	}
	for _, dir := range slices.Backward(dirs) {
		args, err := checkpoint.ReadTrainingArgs(ctx, dir)
		if err != nil {
			continue
		}
		r.Policy = &Policy{TrainingArgs: *args, Source: filepath.Join(dir, "training_args.bin")}
		if args.V4 {
			r.Policy.Rules = RulesV4
		}
		return
	}
}

// An argsCache spares unpickling a training_args.bin for every checkpoint of a
// run, where all are the same. It may be used by many goroutines.
type argsCache struct {
	mu   sync.Mutex
	file []byte
	args *checkpoint.TrainingArgs
}

// maxArgs bounds the files that are compared; real ones have 5 KB.
const maxArgs = 64 << 10

// read returns what the training_args.bin of a checkpoint says; nil if that is
// not known here.
func (c *argsCache) read(ctx context.Context, dir string) *checkpoint.TrainingArgs {
	name := filepath.Join(dir, "training_args.bin")
	if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() || info.Size() > maxArgs {
		return nil
	}
	file, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !bytes.Equal(file, c.file) || c.args == nil {
		args, err := checkpoint.ReadTrainingArgs(ctx, dir)
		if err != nil {
			return nil
		}
		c.file, c.args = file, args
	}
	return c.args
}

// ReadLaunchScript reads how a run saves from the arguments in a shell script
// such as run_8gpu.sh, with what transformers takes where an argument is absent.
// Nothing is run: lines that end in a backslash are joined, quotes and comments
// are removed, and variables are replaced that the script sets to plain text.
func ReadLaunchScript(path string) (*Policy, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p, err := parseArguments(shellWords(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	p.Source = path
	return p, nil
}

// parseArguments reads --name value and --name=value as HfArgumentParser does.
func parseArguments(words []string) (*Policy, error) {
	p := &Policy{}
	p.SaveStrategy, p.SaveSteps, p.Optim, p.MaxSteps = "steps", 500, "adamw_torch_fused", -1
	known := 0
	greater := ""
	for i, word := range words {
		name, value, glued := strings.Cut(word, "=")
		if !strings.HasPrefix(name, "--") {
			continue
		}
		if !glued && i+1 < len(words) && !strings.HasPrefix(words[i+1], "--") {
			value = words[i+1]
		}
		var err error
		switch known++; strings.ReplaceAll(name[2:], "-", "_") {
		case "output_dir":
			p.OutputDir = value
		case "save_strategy":
			p.SaveStrategy = value
		case "save_steps":
			p.SaveSteps, err = strconv.ParseFloat(value, 64)
		case "save_total_limit":
			p.SaveTotalLimit, err = strconv.Atoi(value)
		case "max_steps":
			p.MaxSteps, err = strconv.Atoi(value)
		case "save_only_model":
			p.SaveOnlyModel = truth(value)
		case "load_best_model_at_end":
			p.LoadBestModelAtEnd = truth(value)
		case "metric_for_best_model":
			p.Metric = value
		case "greater_is_better":
			greater = value
		case "optim":
			p.Optim = value
		case "bf16":
			p.BF16 = truth(value)
		case "fp16":
			p.FP16 = truth(value)
		case "deepspeed":
			p.DeepSpeed = value
		case "fsdp":
			p.FSDP = value != ""
		default:
			known--
		}
		if err != nil {
			return nil, fmt.Errorf("%s: want a number, found %.60q", name, value)
		}
	}
	if known == 0 {
		return nil, fmt.Errorf("no argument of the Trainer such as --output_dir or --save_steps")
	}
	if p.Metric == "" && p.LoadBestModelAtEnd {
		p.Metric = "loss"
	}
	p.GreaterIsBetter = truth(greater) && greater != "" || greater == "" && p.Metric != "" && !strings.HasSuffix(p.Metric, "loss")
	p.SaveTotalLimit = max(0, p.SaveTotalLimit)
	return p, nil
}

// truth is how HfArgumentParser reads a flag: alone it is true.
func truth(value string) bool {
	switch strings.ToLower(value) {
	case "", "yes", "true", "t", "y", "1":
		return true
	}
	return false
}

// shellWords splits a script into words, with the variables that it sets.
func shellWords(script string) []string {
	vars := make(map[string]string)
	var words []string
	var word strings.Builder
	started := false
	end := func() {
		if !started {
			return
		}
		w := word.String()
		if name, value, ok := strings.Cut(w, "="); ok && isName(name) {
			vars[name] = value
		}
		words = append(words, w)
		word.Reset()
		started = false
	}
	for i := 0; i < len(script); i++ {
		switch b := script[i]; b {
		case '\\':
			if i++; i < len(script) && script[i] == '\r' {
				i++
			}
			if i < len(script) && script[i] != '\n' {
				word.WriteByte(script[i])
				started = true
			}
		case ' ', '\t', '\r', '\n', ';', '&', '|', '(', ')':
			end()
		case '#':
			if started {
				word.WriteByte(b)
				break
			}
			for i+1 < len(script) && script[i+1] != '\n' {
				i++
			}
		case '\'':
			n := strings.IndexByte(script[i+1:], '\'')
			if n < 0 {
				n = len(script) - i - 1
			}
			word.WriteString(script[i+1 : i+1+n])
			i += n + 1
			started = true
		case '"':
			started = true // quotes only keep blanks together
			for i++; i < len(script) && script[i] != '"'; i++ {
				if script[i] == '$' {
					i += expand(&word, script[i:], vars) - 1
				} else {
					word.WriteByte(script[i])
				}
			}
		case '$':
			started = true
			i += expand(&word, script[i:], vars) - 1
		default:
			word.WriteByte(b)
			started = true
		}
	}
	end()
	return words
}

// expand writes the value of the variable that s begins with, or what stands
// there if it is not known, and returns the length of what it replaces.
func expand(w *strings.Builder, s string, vars map[string]string) int {
	name, length, fallback := "", 0, ""
	if strings.HasPrefix(s, "${") {
		if n := strings.IndexByte(s, '}'); n > 0 {
			length = n + 1
			name, fallback, _ = strings.Cut(s[2:n], ":-")
		}
	} else {
		n := 1
		for n < len(s) && isName(s[1:n+1]) {
			n++
		}
		name, length = s[1:n], n
	}
	value, ok := vars[name]
	switch {
	case ok:
		w.WriteString(value)
	case fallback != "":
		w.WriteString(fallback)
	case length > 0:
		w.WriteString(s[:length])
	default:
		w.WriteByte('$')
		length = 1
	}
	return length
}

func isName(s string) bool {
	for i, r := range s {
		if r != '_' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
