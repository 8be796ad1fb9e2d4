package diag

// Headers: the safetensors format. (Reference: Rust crate safetensors 0.8.0.)
const (
	HeaderLength Code = "H001"
)

var headerCodes = []Info{
	{HeaderLength, Error, "header length impossible", "header lengths are impossible",
		"The first 8 bytes, read as a little-endian number, do not give a header that fits the file and the limit of 100,000,000 bytes.",
		"header of 1.85 EB announced in a file of 16.58 GB", "safetensors 0.8.0 tensor.rs, HeaderTooLarge, InvalidHeaderLength"},
}
