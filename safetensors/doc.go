// Package safetensors reads and writes the safetensors format: a header in JSON
// that names tensors, and their bytes.
//
// # Reading
//
// [Open], [OpenFS] and [NewFile] read and check the header only. They give the
// verdict of the reference implementation, the Rust crate safetensors 0.8.0, on
// every file, and more: a file that is refused gives a [*FormatError] with all
// its problems, each with code, tensor, byte offset, cause and fix; what the
// reference lets pass against the format's own text is a warning in [File.Report].
// A file that is no safetensors at all is named for what it is, see [Sniff].
// [OpenModel] opens an index and its shards as one and holds them against each
// other.
//
// # Tensor data
//
// There are two ways to the bytes of a [Tensor]. [Tensor.ReadInto] and
// [Tensor.Open] read from any source, and trouble is an error. [Tensor.Bytes] and
// [View] give the mapped file itself, without a copy, until [File.Close]; where
// the file may be cut or its storage may fail meanwhile, use them under
// [File.Guard].
//
// # Security
//
// Files may come from anywhere. No file makes this package panic, and the header
// is the only thing that is allocated for: no length is believed before the
// source has been seen to hold as much. A header of the largest size that the
// format allows, 100 MB, can take several times that; [Limits] lowers it. Indexes
// cannot name files outside of their directory. Nothing in a file is executed.
//
// What is not checked: the values of tensors, and whether these tensors are those
// that a model needs; for that see package checkpoint.
package safetensors
