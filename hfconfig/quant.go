package hfconfig

import (
	"regexp"
	"slices"

	"github.com/safeckpt/safeckpt/safetensors"
)

// A quantization says what a checkpoint holds in place of the weights of linear
// maps. Its functions are called with what they can rely on: sizes are below
// maxDim.
type quantization struct {
	method string
	// linear returns what stands for the weight of a linear map. It is nil if it is
	// not known how the method stores weights.
	linear func(m *linearMap) []stored
	// stack does so for the experts of a layer in one tensor; nil: they stay.
	stack func(s *expertStack) []stored
	// conv1d says that the method takes Conv1D for a linear map.
	conv1d bool
	// modules says that the method takes modules in memory only: experts that are one
	// tensor there stay, though transformers 4 had a module for each.
	modules bool
	// exempt reports whether a module stays as it is.
	exempt func(m *linearMap) bool
	// besides matches names that may be there besides; nil: none.
	besides *regexp.Regexp
	// tails says that the output embeddings, tied weights and the last module stay
	// too: get_keys_to_not_convert.
	tails bool
	clock *clock
}

// A linearMap is one nn.Linear, or Conv1D, or what holds all experts of a layer.
type linearMap struct {
	names   []string // in memory if it is a module there, and on disk: lists in configs may be older than layouts
	out, in uint64
}

// called reports whether f holds for one of the module's names.
func (m *linearMap) called(f func(name string) bool) bool { return slices.ContainsFunc(m.names, f) }

// An expertStack is the weight of all experts of a layer: [experts, a, b].
type expertStack struct{ experts, a, b uint64 }

// A stored is one of the tensors that stand for a weight.
type stored struct {
	suffix   string              // after the name of the module, or of the stack
	shape    []uint64            // nil: not known beforehand
	dtypes   []safetensors.DType // nil: any floating-point type
	optional bool
	elements uint64 // of the weight that it stands for; 0 for what goes with it
}

// quantizations are the methods that are known, by quant_method. A method that
// two names have stands here under both.
var quantizations = map[string]func(q settings) (*quantization, error){
	"auto-round":         autoRound,
	"awq":                awq,
	"bitnet":             bitnet,
	"bitsandbytes":       bitsAndBytes,
	"compressed-tensors": compressedTensors,
	"fbgemm_fp8":         fbgemm,
	"fp8":                blockFP8,
	"gptq":               gptq,
	"mxfp4":              mxfp4,
}

// newQuantization returns how the weights of a config are quantized, nil if they
// are not.
func newQuantization(c *Config) (*quantization, error) {
	method := c.Quantization()
	if method == "" {
		return nil, nil
	}
	q, at := &quantization{}, c.quantization()
	if known := quantizations[method]; known != nil {
		var err error
		if q, err = known(at); err != nil {
			return nil, err
		}
	}
	q.method, q.clock = method, at.clock
	if q.exempt == nil {
		q.exempt = func(*linearMap) bool { return false }
	}
	return q, nil
}

// ceil divides and rounds up.
func ceil(n, by uint64) uint64 { return (n + by - 1) / by }
