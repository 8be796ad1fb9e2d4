package safetensors

import "github.com/safeckpt/safeckpt/diag"

const (
	writerCause = "the program that wrote the file does not keep to the format, or the header was edited or damaged"
	saveFix     = "save it again with the safetensors library, or get the file again"
)

// advice holds why a problem of a header usually happens and what to do, for
// those where that depends on nothing else.
var advice = map[diag.Code]struct{ cause, fix string }{
	diag.HeaderUTF8:         {"the header was damaged, or names were written in another encoding", saveFix},
	diag.HeaderSyntax:       {"the header was damaged, cut or edited by hand; what follows this byte could not be checked", saveFix},
	diag.HeaderNotObject:    {writerCause, saveFix},
	diag.HeaderMetadata:     {"a program put numbers or nested values into the metadata", "write them as strings, e.g. json.dumps(value), and save it again"},
	diag.HeaderFieldMissing: {writerCause, saveFix},
	diag.HeaderFieldType:    {writerCause, saveFix},
	diag.HeaderFieldTwice:   {writerCause, saveFix},
	diag.HeaderDType:        {"the file is of a newer format, or of a program that names its types otherwise", "convert the tensor to a dtype of the format, or ask for support of this one"},
	diag.HeaderSize:         {"shape, dtype or offsets were changed without the others, or the header was damaged", saveFix},
	diag.HeaderOverflow:     {"the shape was damaged, or is an attack", saveFix},
	diag.HeaderPartialByte:  {"4- or 6-bit elements were not padded to whole bytes", "pad the tensor to whole bytes before it is saved"},
	diag.HeaderReversed:     {writerCause, saveFix},
	diag.HeaderOverlap:      {writerCause, saveFix},
	diag.HeaderHole:         {"tensors were removed from the header and their bytes left, or the writer aligned each tensor", saveFix},
	diag.HeaderDuplicate:    {"a writer that does not keep track of its names, or two headers joined; readers disagree about which entry counts", saveFix},
	diag.HeaderDuplicateKey: {writerCause, saveFix},
	diag.HeaderLimit:        {"", "raise OpenOptions.Limits if the file is trusted"},
	diag.HeaderLeadingBlanks: {"a writer that aligns the data by blanks before the header instead of after it",
		"save it again; readers that follow the format to the letter refuse it"},
	diag.HeaderArrayForm:   {writerCause, saveFix},
	diag.HeaderDTypeObject: {writerCause, saveFix},
	diag.HeaderExtraField:  {"a newer format, or a program that keeps its own notes in the header", "move notes to __metadata__"},
	diag.HeaderUnaligned:   {"", "save it with a writer that pads its header, if views without a copy matter"},
	diag.TensorUnaligned:   {"", "save it with a writer that orders tensors by element size, if views without a copy matter"},
}
