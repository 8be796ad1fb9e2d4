// Package zero puts together the weights that DeepSpeed ZeRO left in one file per
// rank, and writes them as safetensors.
//
//	s, err := zero.Open(ctx, "outputs/checkpoint-500", nil) // *Error tells what is wrong
//	stats, err := s.Merge(ctx, "merged", nil)
//
// Open reads the ranks' pickles, holds every rank against every other and plans
// each tensor of the result as a few byte ranges of their files; no tensor data
// is read. Merge copies those ranges, in a remote file system by itself if it can.
// Memory does not grow with the model, and optimizer moments are never read.
//
// The result is that of DeepSpeed's zero_to_fp32.py (0.19.8), except where that
// fails or is wrong: tied weights, frozen weights of stage 1, parameters without
// elements, BF16_Optimizer, experts, pipeline stages, universal checkpoints.
// Tensor-parallel checkpoints are refused. Checkpoints of FSDP (torch's distributed
// checkpoints, .metadata and *.distcp) are merged in the same way.
//
// # Words
//
// A rank's partition is its part of the master weights, which lie in flat groups:
// one for each group of the optimizer in stages 1 and 2, one for each sub-group in
// stage 3. The working copy is what the model computes with, often 16-bit.
//
// # Security
//
// Files are taken to be hostile: nothing in a pickle is run, and every length is
// held against the file that has it before it is used. See internal/torchzip.
package zero
