package checkpoint

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/safeckpt/safeckpt/internal/torchzip"
)

const (
	optimizerBinFile = "optimizer.bin" // FSDP FULL_STATE_DICT
	scalerFile       = "scaler.pt"
	dcpMetadata      = ".metadata" // torch.distributed.checkpoint, written last
)

var (
	rngRank   = regexp.MustCompile(`^rng_state_(\d+)\.pth$`)
	optimRank = regexp.MustCompile(`^(?:bf16_|fp16_)?zero_pp_rank_(\d+)_mp_rank_(\d+(?:_\d+)?)_optim_states\.pt$`)
	xlaOptim  = regexp.MustCompile(`^rank\d+-of-(\d+)-optimizer\.pt$`)
	fsdpRank  = regexp.MustCompile(`^(pytorch_model_fsdp|optimizer)(_\d+)?_rank\d+\.bin$`)
)

// resumption decides. whole says whether the weights that from_pretrained reads
// can be trusted.
func (c *Checkpoint) resumption(ctx context.Context, whole bool) *Resumption {
	h := &Resumption{Resumable: ResumeExact}
	if c.files == nil {
		return &Resumption{Resumable: ResumeNo, Reasons: []string{"a lone file has no training state"}}
	}
	if c.trainer == nil {
		h.inexact("trainer_state.json is missing or damaged, so the step is lost and the Trainer refuses to resume")
		h.lacks(trainerStateFile)
	}
	if c.files.has(incompleteFile) {
		h.inexact("%s is here: the save was not finished, and the Trainer would resume from it without a word", incompleteFile)
	}
	switch c.state {
	case StateZeRO1, StateZeRO2, StateZeRO3:
		c.resumeZeRO(ctx, h)
	case StateFSDP:
		c.resumeFSDP(ctx, h)
	default:
		if !whole {
			return &Resumption{Resumable: ResumeNo, Reasons: []string{"the weights are not whole"}}
		}
		c.resumePlain(h)
	}
	c.resumeRNG(h)
	if !c.files.has(scalerFile) && c.wantsScaler(ctx) {
		h.inexact("no scaler.pt although the run uses fp16: the Trainer starts with a new loss scale, without a word")
		h.lacks(scalerFile)
	}
	for _, name := range sortedKeys(c.torch) {
		if err := c.torch[name]; err != nil && name != trainingArgsFile {
			h.inexact("%s: %v", name, err)
		}
	}
	if c.files.has(incompleteFile) || !whole && !h.sharded {
		h.Resumable = ResumeNo
		if !c.files.has(incompleteFile) {
			h.Reasons = append([]string{"the weights are not whole"}, h.Reasons...)
		}
	}
	return h
}

// resumePlain: one writer's optimizer and scheduler count only together.
func (c *Checkpoint) resumePlain(h *Resumption) {
	optimizer := c.files.has(optimizerFile) || c.files.has(optimizerBinFile) || c.xlaOptimizers(h)
	switch scheduler := c.files.has(schedulerFile); {
	case !optimizer && !scheduler:
		h.inexact("no optimizer.pt and no scheduler.pt: the Trainer starts with new ones, without a word")
		h.lacks(optimizerFile, schedulerFile)
	case !optimizer:
		h.inexact("no optimizer.pt: the Trainer starts with a new optimizer and throws scheduler.pt away too, without a word")
		h.lacks(optimizerFile)
	case !scheduler:
		h.inexact("no scheduler.pt: the Trainer starts with a new scheduler and throws optimizer.pt away too, without a word")
		h.lacks(schedulerFile)
	}
}

// xlaOptimizers reports whether every rank of an XLA-FSDP run left its optimizer.
func (c *Checkpoint) xlaOptimizers(h *Resumption) bool {
	names := c.files.match(xlaOptim)
	if len(names) == 0 {
		return false
	}
	h.WorldSize, _ = strconv.Atoi(xlaOptim.FindStringSubmatch(names[0])[1])
	return len(names) == h.WorldSize
}

// resumeRNG: one file per process, numbered if there are several.
func (c *Checkpoint) resumeRNG(h *Resumption) {
	names := c.files.match(rngFile)
	if len(names) == 0 {
		h.inexact("no rng_state.pth: data order and dropout will differ, without a word")
		h.lacks("rng_state.pth")
		return
	}
	there := make(map[int]bool)
	size := h.WorldSize
	for _, name := range names {
		if m := rngRank.FindStringSubmatch(name); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil || n >= maxEntries {
				continue
			}
			there[n] = true
			size = max(size, n+1)
		}
	}
	if len(there) == 0 { // rng_state.pth alone: one process
		if size > 1 {
			h.inexact("rng_state.pth is of one process, the state of %d", size)
		}
		h.WorldSize = max(size, 1)
		return
	}
	size = max(size, 2) // one process alone writes rng_state.pth
	h.WorldSize = size
	for n := range size {
		if !there[n] {
			name := fmt.Sprintf("rng_state_%d.pth", n)
			h.inexact("no %s: data order and dropout of process %d will differ, without a word", name, n)
			h.lacks(name)
		}
	}
}

func (c *Checkpoint) wantsScaler(ctx context.Context) bool {
	if c.state != StateTrainer || !c.files.has(optimizerFile) {
		return false // DeepSpeed keeps the loss scale in its own files
	}
	if c.args != nil {
		return c.args.FP16
	}
	fp16 := false
	_ = c.withTorchFile(trainingArgsFile, func(r io.ReaderAt, size int64) error {
		a, err := parseTrainingArgs(ctx, r, size)
		fp16 = err == nil && a.FP16
		return err
	})
	return fp16
}

// resumeZeRO: DeepSpeed loads weights and optimizer from the directory that
// `latest` names; the optimizer is cut into as many parts as there were
// data-parallel ranks. Follows DeepSpeed 0.19.8 runtime/engine.py,
// load_checkpoint.
func (c *Checkpoint) resumeZeRO(ctx context.Context, h *Resumption) {
	tag := c.zeroTag(h)
	if tag == "" {
		return
	}
	names := slices.Clone(c.files.dirs[tag])
	if tag == "." {
		names = c.files.match(zeroFile)
	}
	slices.Sort(names)
	if slices.Contains(names, "zero") && !slices.ContainsFunc(names, zeroFile.MatchString) {
		h.sharded = true // universal: for any number of ranks
		return
	}
	ok := true
	ranks := make(map[string]map[int]bool) // by model-parallel rank
	size, models := 0, 0
	var first string
	for _, name := range names {
		if m := optimRank.FindStringSubmatch(name); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil || n >= maxEntries {
				continue
			}
			if ranks[m[2]] == nil {
				ranks[m[2]] = make(map[int]bool)
			}
			ranks[m[2]][n] = true
			size = max(size, n+1)
			if first == "" {
				first = name
			}
		} else if zeroFile.MatchString(name) {
			models++
		}
		if !zeroFile.MatchString(name) {
			continue
		}
		if err := c.torchFileErr(ctx, path.Join(tag, name)); err != nil {
			h.inexact("%s/%s: %v; DeepSpeed cannot load it", tag, name, err)
			ok = false
		}
	}
	if first == "" {
		h.inexact("no optimizer files in %s: DeepSpeed refuses to resume", tag)
		h.lacks(path.Join(tag, "*_optim_states.pt"))
		return
	}
	size = max(size, c.zeroPartitions(ctx, path.Join(tag, first)))
	for _, mp := range sortedKeys(ranks) {
		for n := range size {
			if !ranks[mp][n] {
				name := optimName(first, n, mp)
				h.inexact("%s/%s is missing (rank %d of %d): DeepSpeed refuses to resume", tag, name, n, size)
				h.lacks(path.Join(tag, name))
				ok = false
			}
		}
	}
	wantModels := len(ranks)
	if c.state == StateZeRO3 {
		wantModels *= size
	}
	if models < wantModels {
		h.inexact("%d of %d model_states files are in %s: DeepSpeed refuses to resume", models, wantModels, tag)
		h.lacks(path.Join(tag, "*_model_states.pt"))
		ok = false
	}
	h.WorldSize = size * len(ranks)
	h.sharded = ok
	if !ok {
		return
	}
	if c.trainer != nil && !c.files.has(schedulerFile) && !c.zeroScheduler(ctx, tag, names) {
		h.inexact("no scheduler.pt, and DeepSpeed did not keep the scheduler: the Trainer stops with FileNotFoundError")
		h.lacks(schedulerFile)
	}
}

// optimName returns the name of another rank's optimizer file.
func optimName(like string, rank int, mp string) string {
	prefix, _, _ := strings.Cut(like, "zero_pp_rank_")
	return fmt.Sprintf("%szero_pp_rank_%d_mp_rank_%s_optim_states.pt", prefix, rank, mp)
}

// zeroTag returns the directory that DeepSpeed would load, "" if there is none.
func (c *Checkpoint) zeroTag(h *Resumption) string {
	text, err := c.readText(latestFile)
	if err != nil {
		dirs := c.files.zeroDirs()
		if len(dirs) == 1 && dirs[0] == "." {
			return "." // the tag's own directory was given
		}
		h.inexact("no file named latest: DeepSpeed loads nothing and the Trainer refuses to resume")
		h.lacks(latestFile)
		return ""
	}
	tag := strings.TrimSpace(string(text))
	if _, ok := c.files.dirs[tag]; !ok || !fs.ValidPath(tag) {
		h.inexact("latest names %.100q, which is not here: DeepSpeed loads nothing and the Trainer refuses to resume", tag)
		h.lacks(fmt.Sprintf("%.100s/", tag))
		return ""
	}
	return tag
}

// zeroPartitions returns how many ranks the optimizer was cut into, 0 if that
// cannot be read. Follows DeepSpeed 0.19.8 utils/zero_to_fp32.py.
func (c *Checkpoint) zeroPartitions(ctx context.Context, name string) (n int) {
	_ = c.withTorchFile(name, func(r io.ReaderAt, size int64) error {
		contents, err := load(ctx, r, size)
		if err != nil {
			return err
		}
		count := contents.Root.Get("optimizer_state_dict", "partition_count")
		if counts, err := count.Ints(); err == nil { // one per parameter group, stages 1 and 2
			for _, k := range counts {
				n = max(n, int(min(k, maxEntries)))
			}
			return nil
		}
		k, err := count.Int()
		if err == nil {
			n = int(max(0, min(k, maxEntries)))
		}
		return err
	})
	return n
}

// zeroScheduler reports whether the engine's own file holds a scheduler.
func (c *Checkpoint) zeroScheduler(ctx context.Context, tag string, names []string) (there bool) {
	i := slices.IndexFunc(names, func(n string) bool { return zeroFile.MatchString(n) && !zeroOptimFile.MatchString(n) })
	if i < 0 {
		return false
	}
	_ = c.withTorchFile(path.Join(tag, names[i]), func(r io.ReaderAt, size int64) error {
		contents, err := load(ctx, r, size)
		if err == nil {
			v := contents.Root.Get("lr_scheduler")
			there = v.Err() == nil && !v.IsNone()
		}
		return err
	})
	return there
}

// resumeFSDP: model and optimizer lie in one directory each (SHARDED_STATE_DICT),
// in one file each (FULL_STATE_DICT), or in one file per rank and each.
func (c *Checkpoint) resumeFSDP(ctx context.Context, h *Resumption) {
	switch {
	case c.files.has("pytorch_model_fsdp.bin"):
		h.sharded = c.torch["pytorch_model_fsdp.bin"] == nil
		if !c.files.has(optimizerBinFile) {
			h.inexact("no optimizer.bin: the Trainer starts with a new optimizer, without a word")
			h.lacks(optimizerBinFile)
		}
	case len(c.files.match(fsdpRank)) > 0:
		h.sharded = true
		models, optimizers := 0, 0
		for _, name := range c.files.match(fsdpRank) {
			if strings.HasPrefix(name, "optimizer") {
				optimizers++
			} else {
				models++
			}
		}
		if h.WorldSize = models; optimizers < models {
			h.inexact("%d of %d optimizer files: the ranks without one cannot resume", optimizers, models)
		}
	default:
		model, optimizer := "", ""
		for _, dir := range sortedKeys(c.files.dirs) {
			switch {
			case fsdpDir.MatchString(dir) && model == "":
				model = dir
			case fsdpState.MatchString(dir) && optimizer == "":
				optimizer = dir
			}
		}
		h.sharded = c.dcpWhole(ctx, h, model, "pytorch_model_fsdp_0")
		c.dcpWhole(ctx, h, optimizer, "optimizer_0")
	}
	if !c.files.has(schedulerFile) {
		h.inexact("no scheduler.pt: the Trainer starts with new optimizer and scheduler, without a word")
		h.lacks(schedulerFile)
	}
}

// dcpWhole holds a directory of torch.distributed.checkpoint against its
// .metadata, a pickle that names the shards and is written last.
func (c *Checkpoint) dcpWhole(ctx context.Context, h *Resumption, dir, want string) bool {
	if dir == "" {
		h.inexact("no directory %s", want)
		h.lacks(want + "/")
		return false
	}
	if !slices.Contains(c.files.dirs[dir], dcpMetadata) {
		h.inexact("%s has no .metadata, which is written last: its save was not finished", dir)
		h.lacks(path.Join(dir, dcpMetadata))
		return false
	}
	shards, err := c.dcpShards(ctx, path.Join(dir, dcpMetadata))
	if err != nil {
		h.inexact("%s/.metadata: %v", dir, err)
		return false
	}
	ok := true
	for _, name := range sortedKeys(shards) {
		file := path.Join(dir, name)
		switch info, err := fs.Stat(c.fsys, file); {
		case err != nil:
			h.inexact("%s is missing", file)
			h.lacks(file)
			ok = false
		case info.Size() < shards[name]:
			h.inexact("%s has %d of at least %d bytes", file, info.Size(), shards[name])
			ok = false
		}
	}
	return ok
}

// torchFileErr returns what is wrong with an archive's directory, nil if nothing.
func (c *Checkpoint) torchFileErr(ctx context.Context, name string) error {
	return c.withTorchFile(name, func(r io.ReaderAt, size int64) error {
		_, err := torchzip.Open(ctx, r, size)
		return err
	})
}

func load(ctx context.Context, r io.ReaderAt, size int64) (*torchzip.Contents, error) {
	archive, err := torchzip.Open(ctx, r, size)
	if err != nil {
		return nil, err
	}
	return archive.Load(ctx, nil)
}
