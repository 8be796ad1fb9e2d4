// Package torchzip reads what torch.save writes: a pickle and the storages that
// it names, either in a zip archive whose members are stored uncompressed (torch
// 1.6 and later) or in the legacy format (before 1.6, or on request), one after
// another. Tensor bytes are never read here, only found.
//
//	archive, err := torchzip.Open(ctx, r, size)   // the directory
//	contents, err := archive.Load(ctx, nil)       // the pickle
//	t, err := contents.Root.Get("module", "embed.weight").Tensor()
//	span, err := contents.Tensor(t)               // where its bytes are in r
//
// # Security
//
// The input is taken to be hostile. Nothing of the pickle is executed (see
// package pickle), nothing is decompressed, and nothing is allocated by a length
// that was not held against the size of the input. Members must not overlap, and
// the two headers that a zip archive has for each must agree, so that every
// reader sees the same bytes. Memory is limited to 12 MiB for the directory and
// 32 MiB for the pickle, or 1/64 of the input if that is more.
//
// The formats are those of PyTorch 2.15, caffe2/serialize/inline_container.cc
// and torch/serialization.py, and of PKWARE's APPNOTE 6.3.10.
package torchzip
