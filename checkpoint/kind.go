package checkpoint

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/safeckpt/safeckpt/internal/atomicfile"
)

// Kind says what holds the weights of a directory. It is told by the files in
// it, never by its name.
type Kind string

// The kinds. Where several apply, the first in this list is taken.
const (
	KindFull    Kind = "full"    // a whole model: model.safetensors, or an index and shards
	KindAdapter Kind = "adapter" // a PEFT adapter, here or in sub-directories
	KindZeRO    Kind = "zero"    // only DeepSpeed ZeRO shards
	KindFSDP    Kind = "fsdp"    // only FSDP shards (torch distributed checkpoint)
	KindRun     Kind = "run"     // no weights of its own, only checkpoint-N directories
	KindFile    Kind = "file"    // a lone file
	KindUnknown Kind = "unknown"
)

// State says what training state lies beside the weights.
type State string

// The states.
const (
	StateNone    State = "none"
	StateTrainer State = "trainer" // transformers' Trainer, one writer
	StateZeRO1   State = "zero1"
	StateZeRO2   State = "zero2"
	StateZeRO3   State = "zero3"
	StateFSDP    State = "fsdp"
)

// Names that transformers 5.23, peft 0.21, accelerate 1.15 and DeepSpeed 0.19
// give to files of a checkpoint.
const (
	configFile        = "config.json"
	adapterConfigFile = "adapter_config.json"
	adapterFile       = "adapter_model.safetensors"
	adapterBinFile    = "adapter_model.bin"
	trainerStateFile  = "trainer_state.json"
	trainingArgsFile  = "training_args.bin"
	optimizerFile     = "optimizer.pt"
	schedulerFile     = "scheduler.pt"
	latestFile        = "latest"
	incompleteFile    = "checkpoint-is-incomplete.txt"
)

var (
	stepDir       = regexp.MustCompile(`^checkpoint-(\d+)$`)
	modelFile     = regexp.MustCompile(`^model[-.].*safetensors(\.index.*\.json)?$`)
	rngFile       = regexp.MustCompile(`^rng_state(_\d+)?\.pth$`)
	binFile       = regexp.MustCompile(`^(pytorch_model([-.][^f].*)?\.bin(\.index\.json)?|consolidated\.\d+\.pth|model\.pt|.*\.ckpt)$`)
	zeroFile      = regexp.MustCompile(`^(bf16_|fp16_)?(zero_pp_rank_\d+_)?mp_rank_\d+(_\d+)?_(model|optim)_states\.pt$`)
	zero3File     = regexp.MustCompile(`^zero_pp_rank_\d+_mp_rank_\d+_model_states\.pt$`)
	zeroOptimFile = regexp.MustCompile(`_optim_states\.pt$`)
	tagDir        = regexp.MustCompile(`^global_step\d+(_universal)?$`)
	fsdpFile      = regexp.MustCompile(`^(pytorch_model_fsdp.*\.bin|__\d+_\d+\.distcp)$`)
	fsdpDir       = regexp.MustCompile(`^pytorch_model_fsdp_\d+$`)
	fsdpState     = regexp.MustCompile(`^optimizer_\d+$`)
	leftoverTmp   = regexp.MustCompile(`^\.tmp[A-Za-z0-9]{6}$`)
)

// isFileName reports whether a directory of this name is a mistake.
func isFileName(name string) bool {
	switch name {
	case configFile, adapterConfigFile, adapterFile, trainerStateFile, trainingArgsFile, optimizerFile, schedulerFile:
		return true
	}
	return modelFile.MatchString(name) || rngFile.MatchString(name)
}

// A listing is a directory read once: the files in it, and the names in its
// sub-directories (one level). Hidden files are no part of a checkpoint (macOS
// leaves a ._model.safetensors, editors leave locks), but for what safetensors
// and DCP write.
type listing struct {
	files map[string]error    // nil, or why it cannot be looked at, such as a symlink that points nowhere
	dirs  map[string][]string // names of files and directories below
	shut  map[string]error    // sub-directories that cannot be read

	entries []fs.DirEntry // the directory, as it was read
}

// A listedFS is a directory that need not be read once more.
type listedFS struct {
	fs.FS
	entries []fs.DirEntry
}

func (l listedFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == "." {
		return slices.Clone(l.entries), nil
	}
	return fs.ReadDir(l.FS, name)
}

func (l listedFS) Stat(name string) (fs.FileInfo, error) { return fs.Stat(l.FS, name) }

// maxEntries bounds how much of a directory is looked at.
const maxEntries = 200_000

func hidden(name string) bool {
	return strings.HasPrefix(name, ".") && !isLeftover(name)
}

func isLeftover(name string) bool {
	return leftoverTmp.MatchString(name) || atomicfile.IsTemp(name)
}

func list(fsys fs.FS) (*listing, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, err
	}
	if len(entries) > maxEntries {
		return nil, fmt.Errorf("more than %d entries: too many for a checkpoint or a folder of runs", maxEntries)
	}
	l := &listing{files: make(map[string]error), dirs: make(map[string][]string), shut: make(map[string]error), entries: entries}
	for _, e := range entries {
		name := e.Name()
		if hidden(name) {
			continue
		}
		isDir, err := e.IsDir(), error(nil)
		if !isDir && !e.Type().IsRegular() { // symlinks are followed: cache snapshots consist of them
			var info fs.FileInfo
			if info, err = fs.Stat(fsys, name); err == nil {
				isDir = info.IsDir()
			}
		}
		if !isDir || isFileName(name) { // else whoever opens it says that it is none
			l.files[name] = err
			continue
		}
		sub, err := fs.ReadDir(fsys, name)
		if err != nil {
			l.shut[name] = err
		}
		names := make([]string, 0, len(sub))
		for _, s := range sub[:min(len(sub), maxEntries)] {
			names = append(names, s.Name())
		}
		l.dirs[name] = names
	}
	return l, nil
}

func (l *listing) has(name string) bool { _, ok := l.files[name]; return ok }

// match returns the files whose name matches, sorted.
func (l *listing) match(re *regexp.Regexp) []string {
	var names []string
	for name := range l.files {
		if re.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// safetensors returns the files that may hold a full model's weights, sorted.
func (l *listing) safetensors() []string {
	var names []string
	for name := range l.files {
		if name != adapterFile && (strings.HasSuffix(name, ".safetensors") || strings.HasSuffix(name, ".safetensors.index.json")) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// adapters returns the sub-directories that hold an adapter, sorted: adapters
// that are not named "default" are saved there.
func (l *listing) adapters() []string {
	var names []string
	for dir, files := range l.dirs {
		if !stepDir.MatchString(dir) && slices.Contains(files, adapterConfigFile) {
			names = append(names, dir)
		}
	}
	slices.Sort(names)
	return names
}

// onlyAdapters reports whether the directory is an adapter's though it has no
// adapter files itself: all its sub-directories are adapters that lie there under
// their names, and none is a run or a checkpoint of its own.
func (l *listing) onlyAdapters() bool {
	n := 0
	for _, files := range l.dirs {
		named := slices.Contains(files, adapterConfigFile) && !slices.ContainsFunc(files, func(name string) bool {
			return stepDir.MatchString(name) || name == trainerStateFile || name == trainingArgsFile
		})
		if !named && !l.hasTrainerFiles() {
			return false
		}
		if named {
			n++
		}
	}
	return n > 0
}

// steps returns the checkpoint-N directories in step order.
func (l *listing) steps() []string {
	var names []string
	for dir := range l.dirs {
		if stepDir.MatchString(dir) {
			names = append(names, dir)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return stepOf(a) - stepOf(b) })
	return names
}

// stepOf returns N of a path that ends in checkpoint-N, else -1.
func stepOf(dir string) int {
	m := stepDir.FindStringSubmatch(path.Base(dir))
	if m == nil {
		return -1
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return -1
	}
	return n
}

// zeroDirs returns where DeepSpeed's files lie: sub-directories, or "." when the
// listing is of the tag's own directory.
func (l *listing) zeroDirs() []string {
	var dirs []string
	if len(l.match(zeroFile)) > 0 {
		dirs = append(dirs, ".")
	}
	for dir, files := range l.dirs {
		if slices.ContainsFunc(files, zeroFile.MatchString) || tagDir.MatchString(dir) && slices.Contains(files, "zero") {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return dirs
}

func (l *listing) fsdp() bool {
	if len(l.match(fsdpFile)) > 0 {
		return true
	}
	for dir := range l.dirs {
		if fsdpDir.MatchString(dir) {
			return true
		}
	}
	return false
}

func (l *listing) kind() Kind {
	switch {
	case len(l.match(modelFile)) > 0, len(l.match(binFile)) > 0:
		return KindFull
	case l.has(adapterConfigFile), l.has(adapterFile), l.has(adapterBinFile), l.onlyAdapters():
		return KindAdapter // whatever else lies beside it, such as a value head
	case len(l.safetensors()) > 0:
		return KindFull
	case len(l.zeroDirs()) > 0:
		return KindZeRO
	case l.fsdp():
		return KindFSDP
	case len(l.steps()) > 0:
		return KindRun
	case l.has(configFile):
		return KindFull // whose weights are missing
	}
	return KindUnknown
}

// trainerFiles are those of which any one shows that the Trainer wrote here.
func (l *listing) hasTrainerFiles() bool {
	return l.has(trainerStateFile) || l.has(trainingArgsFile) || l.has(optimizerFile) || l.has(schedulerFile) || len(l.match(rngFile)) > 0
}
