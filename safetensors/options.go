package safetensors

import "cmp"

// MaxHeaderBytes is the longest header that the format allows. Follows
// safetensors 0.8.0 tensor.rs, MAX_HEADER_SIZE.
const MaxHeaderBytes = 100_000_000

// OpenOptions configures how files and models are opened. Nil means defaults.
type OpenOptions struct {
	// Limits bounds what a header may ask for.
	Limits Limits
	// NoMap never maps a file: Tensor.Bytes and View give ErrNotMapped, reads work.
	// Mapped reads over network filesystems can be 30 to 50 times slower.
	NoMap bool
	// ReadOnce is for large files that are copied or converted as a whole: what
	// the page cache lacks of one on a Linux disk is read past it in large reads,
	// which takes less processor time and leaves there what others use. Mapped
	// reads go through it as ever.
	ReadOnce bool

	// Stem is the name that the files of a model begin with; OpenModel only. ""
	// means that of full models, "model", and then whatever single model the
	// directory holds. Use "adapter_model" for PEFT adapters.
	Stem string
	// Variant asks OpenModel for model.<variant>.safetensors and its index, such
	// as "fp16". "" prefers the files without a variant.
	Variant string
	// Concurrency is how many shards OpenModel opens at a time; 0 means 8.
	Concurrency int
}

// Limits bounds what a header may ask for, beyond the bounds of the format. A
// file that exceeds one is refused (diag.HeaderLimit). 0 means no bound of ours.
type Limits struct {
	HeaderBytes int64 // at most MaxHeaderBytes, which is the default
	Tensors     int
	Rank        int
}

func (o *OpenOptions) orDefault() *OpenOptions {
	if o == nil {
		return &OpenOptions{}
	}
	return o
}

func (l Limits) headerBytes() uint64 {
	return uint64(min(cmp.Or(max(l.HeaderBytes, 0), MaxHeaderBytes), MaxHeaderBytes))
}
