// Package safeckpt is the root of a module that reads, validates and manages
// machine-learning training checkpoints in the safetensors format. It holds no
// code; these packages do:
//
//   - [github.com/safeckpt/safeckpt/safetensors] reads, checks and writes the file
//     format: headers decoded without reading the data, tensors as zero-copy
//     slices of a mapping, an index and its shards seen as one model.
//   - [github.com/safeckpt/safeckpt/hfconfig] knows which tensors a model must
//     have, from its config.json.
//   - [github.com/safeckpt/safeckpt/peft] knows the same of an adapter, from its
//     adapter_config.json, whether it fits its base, and merges it into it.
//   - [github.com/safeckpt/safeckpt/checkpoint] takes a whole directory: what it is,
//     whether it is whole and right, how training can resume from it.
//   - [github.com/safeckpt/safeckpt/checkpoint/run] takes a training run: its
//     checkpoints in order, what the next save deletes, rotation, disk use.
//   - [github.com/safeckpt/safeckpt/checkpoint/zero] checks DeepSpeed ZeRO and FSDP
//     shards and merges them into safetensors.
//   - [github.com/safeckpt/safeckpt/checkpoint/checkpointtest] guards checkpoints in
//     other people's tests.
//   - [github.com/safeckpt/safeckpt/diag] holds problems, their codes and reports.
//
// The program examples/safeckpt puts them on the command line.
//
// # The flow
//
// Data goes one way: a source (a path, an fs.FS, an io.ReaderAt) gives headers,
// headers give tensors, configs give the expectation, and holding one against the
// other gives a result. A directory is opened once; every check is a function from
// what was read to problems.
//
//	err := checkpoint.Check(ctx, "outputs/run/checkpoint-100", nil)
//
// is nil only if the checkpoint is valid. An error of the module's functions says
// "could not check"; a [github.com/safeckpt/safeckpt/diag.Report] says what is
// wrong, with a code, a place, a cause and a fix.
//
// # Security
//
// Checkpoints come from strangers. Whatever the input, nothing in it is executed
// (pickles are never loaded), no function panics, memory is bounded by the input's
// true size and the stated limits, and names are escaped before they are printed.
// SECURITY.md has the limits.
//
// # Compatibility
//
// Until version 1 the Go API may change. Diagnostic codes are never reused, and
// the JSON of the tool only grows.
package safeckpt
