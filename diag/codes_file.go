package diag

// Files: what a file is, and whether all of it is there.
const (
	FileTooShort   Code = "F001"
	FileTruncated  Code = "F002"
	FileTrailing   Code = "F003"
	FileEmpty      Code = "F010"
	FileLFSPointer Code = "F011"
	FileHTML       Code = "F012"
	FileXML        Code = "F013"
	FileJSON       Code = "F014"
	FileZip        Code = "F015"
	FilePickle     Code = "F016"
	FileGGUF       Code = "F017"
	FileZeros      Code = "F018"
	FileOther      Code = "F019"
	FileMissing    Code = "F030"
	FileUnreadable Code = "F031"
	FileNotRegular Code = "F032"
)

var fileCodes = []Info{
	{FileTooShort, Error, "file too short", "files are too short",
		"A safetensors file starts with an 8-byte header length; this file has fewer bytes.",
		"model.safetensors: 7 bytes, a header length alone takes 8", "safetensors 0.8.0 tensor.rs, HeaderTooSmall"},
	{FileTruncated, Error, "file truncated", "files are truncated",
		"The file ends before the last tensor that its header describes. An interrupted download, copy or save leaves such files; readers that map the file see zeros or garbage in the lost tensors.",
		"12.41 of 16.58 GB (74.9 %); 213 of 729 tensors incomplete, first: model.layers.19.mlp.up_proj.weight", "safetensors 0.8.0 tensor.rs, MetadataIncompleteBuffer"},
	{FileTrailing, Error, "bytes after the last tensor", "files have bytes after the last tensor",
		"The file is longer than its header says. Two files joined, a resumed download that started again, or a header that was edited by hand.",
		"model.safetensors: 4 bytes after the last tensor", "safetensors 0.8.0 tensor.rs, MetadataIncompleteBuffer"},
	{FileEmpty, Error, "file is empty", "files are empty",
		"The file has no bytes: a save that was killed, or a full disk.", "", ""},
	{FileLFSPointer, Error, "Git LFS pointer instead of weights", "files are Git LFS pointers instead of weights",
		"The file is the small text that Git LFS leaves in a clone in place of the real file.",
		"134-byte Git LFS pointer, not weights (wants sha256 9f2c…, 4.98 GB)", "git-lfs specification, version https://git-lfs.github.com/spec/v1"},
	{FileHTML, Error, "web page instead of weights", "files are web pages instead of weights",
		"The file is an HTML page: a download that was answered by a login, error or preview page.", "", ""},
	{FileXML, Error, "XML instead of weights", "files are XML instead of weights",
		"The file is XML, most often an object store's error answer (access denied, no such key) saved under the file's name.", "", ""},
	{FileJSON, Error, "JSON instead of weights", "files are JSON instead of weights",
		"The file is bare JSON text: an API's error answer, or an index or config saved under the wrong name.", "", ""},
	{FileZip, Error, "zip archive instead of safetensors", "files are zip archives instead of safetensors",
		"The file is a zip archive: most often a torch.save file (pytorch_model.bin, .pt) that was renamed, not converted.", "", "PyTorch serialization, caffe2/serialize/inline_container"},
	{FilePickle, Error, "pickle instead of safetensors", "files are pickles instead of safetensors",
		"The file is a Python pickle, the legacy torch.save format. Loading a pickle can run any code; it is never done here.", "", ""},
	{FileGGUF, Error, "GGUF instead of safetensors", "files are GGUF instead of safetensors",
		"The file is in the GGUF format of llama.cpp under a .safetensors name.", "", "ggml docs/gguf.md"},
	{FileZeros, Error, "file begins with zeros", "files begin with zeros",
		"The header is all zero bytes: the space was allocated but never written (a crash, a full disk, a sparse copy), or a preallocated download that never ran.", "", ""},
	{FileOther, Error, "another kind of file", "files are of another kind",
		"The first bytes are those of another known format.", "", ""},
	{FileMissing, Error, "file missing", "files are missing",
		"A file that another file names, or that this kind of checkpoint needs, is not there.", "", ""},
	{FileUnreadable, Error, "file cannot be read", "files cannot be read",
		"The operating system refused to open or read the file.", "", ""},
	{FileNotRegular, Error, "not a file", "files are directories, pipes or devices",
		"Something else than a file has the name of one. Containers make an empty directory where a file that they should mount is missing.",
		"model.safetensors is a directory, not a file", ""},
}
