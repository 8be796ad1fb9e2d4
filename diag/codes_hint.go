package diag

// Hints: what is allowed, but will trouble some reader or some person.
const (
	HintNoFramework  Code = "N001"
	HintNoNumpy      Code = "N002"
	HintNameLikePath Code = "N003"
	HintNameCase     Code = "N004"
)

var hintCodes = []Info{
	{HintNoFramework, Note, "dtype that no framework loads", "dtypes are loaded by no framework",
		"The format has the dtype, but neither torch nor numpy can load such tensors, and with them the file.",
		"neither torch nor numpy can load F6_E2M3, the dtype of 12 of 24 tensors, first: w", "safetensors 0.8.0 (Python) with torch 2.15 and numpy 2.4"},
	{HintNoNumpy, Note, "dtype that numpy does not load", "dtypes are not loaded by numpy",
		"torch can load such tensors; numpy without ml_dtypes cannot, and safetensors.numpy refuses the file.",
		"numpy cannot load BF16, the dtype of 339 of 339 tensors, first: lm_head.weight", "safetensors 0.8.0 (Python) with torch 2.15 and numpy 2.4"},
	{HintNameLikePath, Note, "tensor name like a path out of its directory", "tensor names are like paths out of their directory",
		"The name is an absolute path, has a component .. or a backslash. Tools that unpack tensors to files by name could write elsewhere.",
		"1 of 12 tensor names lead out of a directory that tensors are unpacked to, first: ../../etc/passwd", ""},
	{HintNameCase, Note, "tensor names differ only in case", "tensor names differ only in case",
		"Two names are one where case does not count: unpacked to files on Windows or macOS, one tensor replaces the other.",
		"1 of 12 tensor names differ from another only in case, first: Head.weight and head.weight", ""},
}
