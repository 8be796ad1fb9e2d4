package run

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/hfconfig"
)

// EstimateOptions says how a run will save. Nil means defaults.
type EstimateOptions struct {
	Optimizer string // as TrainingArguments.optim has it; "" means adamw_torch
	Engine    string // none (""), zero1, zero2, zero3, fsdp
	DType     string // of the parameters: F32, BF16, F16; "" means that of config.json
	NoGather  bool   // ZeRO-3 with stage3_gather_16bit_weights_on_model_save=false
	OnlyModel bool   // save_only_model
	MaxSteps  int
	SaveSteps int
	Limit     int // save_total_limit; 0 keeps all
	LoRARank  int // 0: a full fine-tune
	// LoRATargets are the ends of module names as target_modules takes them,
	// "all-linear" as PEFT means it, or "language" (also if empty): the linear
	// modules of the language model's layers.
	LoRATargets []string
	// SecondsPerSave is the pace of saves, for FullIn; 0: not known.
	SecondsPerSave float64
}

// An Estimate is a plan of the disk. Sizes are in bytes.
type Estimate struct {
	Parameters uint64
	Trainable  uint64
	Checkpoint int64 // one checkpoint
	Weights    int64 // of it the weights file
	State      int64 // of it what only training needs
	Saves      int   // in all; 0 if not known
	Kept       int   // checkpoints that stay; 0 if not known
	Total      int64 // kept checkpoints
	// Peak: a save is written before the rotation deletes, and weights are written
	// beside what they replace.
	Peak int64
}

// EstimateConfig plans for the model of a config.json. Follows what transformers
// 5.23, DeepSpeed 0.19.8, peft 0.21 and bitsandbytes 0.48 write.
func EstimateConfig(config []byte, o *EstimateOptions) (*Estimate, error) {
	if o == nil {
		o = &EstimateOptions{}
	}
	c, err := hfconfig.Parse(config)
	if err != nil {
		return nil, err
	}
	x, err := hfconfig.Builtin().Expect(c, nil)
	if err != nil {
		return nil, err
	}
	if x.Quantization != "" {
		return nil, fmt.Errorf("the model is quantized (%s), and trained otherwise: want the config.json that it was quantized from", diag.Name(x.Quantization))
	}
	b, err := bytesOf(o.DType, c.DType())
	if err != nil {
		return nil, err
	}
	e := &Estimate{Parameters: x.Parameters()}
	m := model{perElement: b, engine: o.Engine, others: int64(len(config)) + 153}
	for t := range x.All(hfconfig.Save) {
		m.weights = append(m.weights, t.Shape)
		m.names += int64(len(t.Name))
	}
	m.trained = m.weights
	for mod := range x.Modules() {
		if mod.Kind == hfconfig.Embedding {
			m.embeddings = append(m.embeddings, mod.Shape)
		}
	}
	if o.LoRARank > 0 {
		m.lora(x, o)
		if len(m.trained) == 0 {
			return nil, fmt.Errorf("no module of the model is a target of %q", o.LoRATargets)
		}
	}
	for _, shape := range m.trained {
		e.Trainable += elements(shape)
	}
	if e.Weights, e.State, err = m.sizes(e, o); err != nil {
		return nil, err
	}
	e.Checkpoint = e.Weights + e.State + m.others + trainerFiles
	e.plan(o)
	return e, nil
}

// EstimateCheckpoint plans from what a checkpoint takes, to the byte.
func EstimateCheckpoint(ctx context.Context, dir string, o *EstimateOptions) (*Estimate, error) {
	if o == nil {
		o = &EstimateOptions{}
	}
	c, err := checkpoint.Open(ctx, dir, nil)
	if err != nil {
		return nil, err
	}
	r, err := c.Validate(ctx, nil)
	if err := errors.Join(err, c.Close()); err != nil {
		return nil, err
	}
	if !isTrue(r.Complete) {
		return nil, fmt.Errorf("%s is not complete: it says nothing of the size of a whole one", dir)
	}
	e := &Estimate{Parameters: r.Parameters, Trainable: r.Parameters}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return nil, err
		}
		if stepDir.MatchString(entry.Name()) {
			continue
		}
		size, _ := treeSize(filepath.Join(dir, entry.Name()), info)
		switch {
		case stateFile.MatchString(entry.Name()):
			e.State += size
		case strings.HasSuffix(entry.Name(), ".safetensors"):
			e.Weights += size
		}
		e.Checkpoint += size
	}
	if o.OnlyModel {
		e.Checkpoint -= e.State
		e.State = 0
	}
	e.plan(o)
	return e, nil
}

func isTrue(b *bool) bool { return b != nil && *b }

// plan counts saves. With steps a save at the end is forced.
func (e *Estimate) plan(o *EstimateOptions) {
	if o.MaxSteps > 0 && o.SaveSteps > 0 {
		e.Saves = (o.MaxSteps + o.SaveSteps - 1) / o.SaveSteps
	}
	e.Kept = e.Saves
	if o.Limit > 0 && (e.Saves == 0 || o.Limit < e.Saves) {
		e.Kept = o.Limit
	}
	e.Total = int64(e.Kept) * e.Checkpoint
	e.Peak = e.Total
	if e.Kept > 0 && (e.Saves == 0 || e.Kept < e.Saves) {
		e.Peak += e.Checkpoint // deletion follows the save
	}
	if e.Kept > 0 {
		e.Peak += e.Weights // save_model() at the end, or a file beside what it replaces
	}
}

// FullIn returns after how many seconds a save finds no room, or -1 if every one
// does or the pace is not known.
func (e *Estimate) FullIn(free int64, o *EstimateOptions) float64 {
	if e.Checkpoint <= 0 || free < 0 || o == nil || o.SecondsPerSave <= 0 {
		return -1
	}
	fit := int(free / e.Checkpoint) // whole checkpoints that fit
	if e.Saves > 0 && fit >= e.Saves || o.Limit > 0 && fit > o.Limit {
		return -1
	}
	return float64(fit+1) * o.SecondsPerSave
}

func elements(shape []uint64) uint64 {
	n := uint64(1)
	for _, d := range shape {
		n *= d
	}
	return n
}

func bytesOf(dtype, configured string) (int64, error) {
	if dtype == "" {
		dtype = configured
	}
	switch strings.ToLower(dtype) {
	case "", "f32", "float32", "fp32":
		return 4, nil
	case "bf16", "bfloat16", "f16", "float16", "fp16":
		return 2, nil
	}
	return 0, fmt.Errorf("want f32, bf16 or f16 as dtype, found %q", dtype)
}

// A model is what the sizes follow from.
type model struct {
	perElement int64 // bytes of a parameter
	engine     string
	weights    [][]uint64 // shapes of the whole model
	trained    [][]uint64 // of what is trained: the same, or the adapter's
	embeddings [][]uint64
	names      int64 // bytes of their names
	adapter    bool
	others     int64 // texts beside the weights
}

// lora replaces what is trained by an adapter's A [r, in] and B [out, r].
func (m *model) lora(x *hfconfig.Expectation, o *EstimateOptions) {
	m.trained, m.adapter = nil, true
	m.others = 5158 + 1078 // README.md and adapter_config.json
	r := uint64(o.LoRARank)
	for mod := range x.Modules() {
		if mod.Kind != hfconfig.Linear && mod.Kind != hfconfig.Conv1D || !targeted(mod.Path, o.LoRATargets) {
			continue
		}
		m.trained = append(m.trained, []uint64{r, mod.In}, []uint64{mod.Out, r})
	}
}

func targeted(module string, targets []string) bool {
	if len(targets) == 0 {
		targets = []string{"language"}
	}
	last := module[strings.LastIndexByte(module, '.')+1:]
	head := slices.Contains([]string{"lm_head", "output", "score", "classifier", "embed_out"}, last)
	return slices.ContainsFunc(targets, func(t string) bool {
		switch t {
		case "all-linear":
			return !head
		case "language":
			other := strings.Contains(module, "visual") || strings.Contains(module, "vision") || strings.Contains(module, "audio")
			return !head && !other && (strings.Contains(module, ".layers.") || strings.Contains(module, ".h.") || strings.Contains(module, ".block."))
		}
		return module == t || strings.HasSuffix(module, "."+t)
	})
}

// trainerFiles is trainer_state.json with a short log, and training_args.bin.
const trainerFiles = 1700 + 5265

// sizes returns the weights file and the training state.
func (m *model) sizes(e *Estimate, o *EstimateOptions) (weights, state int64, err error) {
	b, p, t := m.perElement, int64(e.Parameters), int64(e.Trainable)
	if m.adapter {
		b = 4 // PEFT trains adapters in float32 on any base
		weights = safetensorsFile(m.trained, b, 74*int64(len(m.trained)))
	} else {
		weights = safetensorsFile(m.weights, b, m.names)
	}
	if o.Engine == "zero3" && o.NoGather {
		weights = 0
	}
	if o.OnlyModel {
		return weights, 0, nil
	}
	const small = 14327 + 1465 // rng_state.pth, scheduler.pt
	moments, err := m.moments(o.Optimizer, b)
	if err != nil {
		return 0, 0, err
	}
	// DeepSpeed keeps frozen parameters out of an adapter's model file.
	inModel := p * m.perElement
	if m.adapter {
		inModel = t * m.perElement
	}
	switch o.Engine {
	case "", "none":
		state = torchFile("optimizer", moments, optimizerPickle(len(m.trained)))
	case "zero1", "zero2":
		state = 12*t + inModel
	case "zero3":
		state = 12 * t
	case "fsdp":
		state = inModel + torchFile("optimizer", moments, optimizerPickle(len(m.trained)))
	default:
		return 0, 0, fmt.Errorf("want none, zero1, zero2, zero3 or fsdp as engine, found %q", o.Engine)
	}
	return weights, state + small, nil
}

// moments returns the sizes of the optimizer's storages.
func (m *model) moments(optimizer string, b int64) ([]int64, error) {
	var sizes []int64
	name := strings.ToLower(optimizer)
	for _, shape := range m.trained {
		n := int64(elements(shape))
		switch {
		case name == "" || name == "adamw" || strings.HasPrefix(name, "adamw_torch") || strings.HasPrefix(name, "adamw_apex") || name == "adamw_hf" || name == "adamw_anyprecision":
			sizes = append(sizes, 4, b*n, b*n) // step, exp_avg, exp_avg_sq
		case strings.Contains(name, "8bit"):
			if n < 4096 || slices.ContainsFunc(m.embeddings, func(s []uint64) bool { return slices.Equal(s, shape) }) && !m.adapter {
				sizes = append(sizes, 4*n, 4*n)
			} else {
				sizes = append(sizes, n, n, 4*((n+255)/256), 4*((n+255)/256))
			}
		case name == "adafactor":
			if len(shape) < 2 {
				sizes = append(sizes, n*b)
			} else {
				last, second := int64(shape[len(shape)-1]), int64(shape[len(shape)-2])
				sizes = append(sizes, b*(n/max(1, last)), b*(n/max(1, second)))
			}
		case name == "sgd": // without momentum, the default
		case name == "lion" || strings.HasPrefix(name, "lion_32") || name == "rmsprop":
			sizes = append(sizes, b*n)
		default:
			return nil, fmt.Errorf("the size of optimizer %q is not known: want adamw, adamw_8bit, adafactor, lion, rmsprop or sgd", optimizer)
		}
	}
	return sizes, nil
}

// optimizerPickle is about what data.pkl of an optimizer takes for n tensors
// (measured with torch 2.15, AdamW).
func optimizerPickle(n int) int64 {
	return 440 + 169*int64(min(n, 12)) + 231*int64(max(0, n-12))
}

// torchFile returns the size of the archive that torch.save writes: storages are
// aligned to 64 bytes. Follows caffe2/serialize/inline_container.cc.
func torchFile(name string, storages []int64, pickle int64) int64 {
	const local, descriptor, central, align = 30, 16, 46, 64
	at, directory := int64(0), int64(22)
	add := func(member string, size int64) {
		at += local + int64(len(member)) + 4 // an extra field pads what follows
		at = (at + align - 1) / align * align
		at += size + descriptor
		directory += central + int64(len(member))
	}
	add(path.Join(name, "data.pkl"), pickle)
	add(path.Join(name, ".format_version"), 1)
	add(path.Join(name, ".storage_alignment"), 2)
	add(path.Join(name, "byteorder"), 6)
	for i, size := range storages {
		add(fmt.Sprintf("%s/data/%d", name, i), size)
	}
	add(path.Join(name, "version"), 2)
	add(path.Join(name, ".data/serialization_id"), 40)
	return at + directory
}

// safetensorsFile returns about the size of a file with tensors of these shapes,
// whose names have so many bytes together.
func safetensorsFile(shapes [][]uint64, b, names int64) int64 {
	n := 8 + 32 + names // length, metadata
	at := int64(0)
	for _, shape := range shapes {
		size := int64(elements(shape)) * b
		n += int64(len(`"":{"dtype":"F32","shape":[],"data_offsets":[,]},`) + digits(at) + digits(at+size))
		for i, d := range shape {
			n += int64(digits(int64(d)) + min(i, 1))
		}
		at += size
	}
	return (n+7)/8*8 + at
}

func digits(n int64) int {
	if n < 10 {
		return 1
	}
	return int(math.Log10(float64(n))) + 1
}
