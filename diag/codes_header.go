package diag

// Headers: the safetensors format. (Reference: Rust crate safetensors 0.8.0.)
// H030 and up are accepted by the reference.
const (
	HeaderLength        Code = "H001"
	HeaderUTF8          Code = "H002"
	HeaderSyntax        Code = "H003"
	HeaderNotObject     Code = "H004"
	HeaderMetadata      Code = "H005"
	HeaderFieldMissing  Code = "H006"
	HeaderFieldType     Code = "H007"
	HeaderFieldTwice    Code = "H008"
	HeaderDType         Code = "H009"
	HeaderSize          Code = "H010"
	HeaderOverflow      Code = "H011"
	HeaderPartialByte   Code = "H012"
	HeaderReversed      Code = "H013"
	HeaderOverlap       Code = "H014"
	HeaderHole          Code = "H015"
	HeaderLimit         Code = "H016"
	HeaderDuplicate     Code = "H030"
	HeaderDuplicateKey  Code = "H031"
	HeaderLeadingBlanks Code = "H032"
	HeaderTrailing      Code = "H033"
	HeaderArrayForm     Code = "H034"
	HeaderDTypeObject   Code = "H035"
	HeaderMetadataNull  Code = "H036"
	HeaderExtraField    Code = "H037"
	HeaderDimension     Code = "H038"
	HeaderUnaligned     Code = "H039"
	TensorUnaligned     Code = "H040"
	HeaderRank          Code = "H041"
	HeaderSplitRow      Code = "H042"
	HeaderName          Code = "H043"
)

const (
	refTensor   = "safetensors 0.8.0 tensor.rs"
	refValidate = "safetensors 0.8.0 tensor.rs, Metadata::validate"
	refSerde    = "serde 1.0.229 and serde_json 1.0.154 as safetensors 0.8.0 uses them"
	refFormat   = "safetensors README, section Format"
)

var headerCodes = []Info{
	{HeaderLength, Error, "header length impossible", "header lengths are impossible",
		"The first 8 bytes, read as a little-endian number, do not give a header that fits the file and the limit of 100,000,000 bytes.",
		"the first 8 bytes announce a header of 1.85 EB, the file has 16.58 GB", refTensor + ", HeaderTooLarge, InvalidHeaderLength"},
	{HeaderUTF8, Error, "header is not UTF-8", "headers are not UTF-8",
		"The header holds bytes that are not valid UTF-8. Decoders that replace them can make two names one.",
		"byte 0xe9 in the header is not valid UTF-8", refTensor + ", InvalidHeader"},
	{HeaderSyntax, Error, "header is not JSON", "headers are not JSON",
		"The header stops being JSON at this byte. What follows could not be checked.",
		"the header is no valid JSON: ',' where a value is wanted", refTensor + ", InvalidHeaderDeserialization; " + refSerde},
	{HeaderNotObject, Error, "header is not a JSON object", "headers are not JSON objects",
		"The header is valid JSON but not an object of tensor names.", "the header is an array, want an object", refFormat},
	{HeaderMetadata, Error, "__metadata__ is not a map of strings", "entries of __metadata__ are not strings",
		"__metadata__ may only hold strings. Numbers and nested objects have to be written as strings.",
		"metadata \"step\" is a number, want a string", refFormat},
	{HeaderFieldMissing, Error, "tensor without a required field", "tensors lack a required field",
		"Each tensor needs dtype, shape and data_offsets.", "model.norm.weight has no shape", refTensor + ", struct TensorInfo"},
	{HeaderFieldType, Error, "field of the wrong type", "fields have the wrong type",
		"dtype is a string, shape an array of unsigned integers, data_offsets an array of two. 1.0, 1e3, -0 and numbers of 2^64 and up are no unsigned integers.",
		"shape of model.norm.weight is a string, want an array", refTensor + ", struct TensorInfo; " + refSerde},
	{HeaderFieldTwice, Error, "field given twice", "fields are given twice",
		"A field of a tensor, or __metadata__, is given twice, so that readers may disagree about its value.",
		"model.norm.weight gives shape twice", refSerde + ", duplicate field"},
	{HeaderDType, Error, "dtype unknown", "dtypes are unknown",
		"The dtype is none of the 22 of the format. Names are upper case and exact: F32, not float32 or f32.",
		"model.norm.weight has dtype \"FLOAT\", which is none of the format's", refTensor + ", enum Dtype"},
	{HeaderSize, Error, "shape and bytes disagree", "tensors have other bytes than their shape takes",
		"data_offsets give the tensor more or fewer bytes than its shape and dtype take.",
		"model.norm.weight: F32 [4096] takes 16384 bytes, data_offsets give 8192", refValidate + ", TensorInvalidInfo"},
	{HeaderOverflow, Error, "shape too large", "shapes are too large",
		"The number of elements, or of their bits, does not fit 64 bits.",
		"F32 [9223372036854775808] has more bits than 64-bit numbers can count", refValidate + ", ValidationOverflow"},
	{HeaderPartialByte, Error, "tensor ends inside a byte", "tensors end inside a byte",
		"Elements of 4 or 6 bits are packed, and the tensor as a whole must fill whole bytes.",
		"F4 [3] takes 12 bits, want a multiple of 8", refValidate + ", MisalignedSlice"},
	{HeaderReversed, Error, "tensor ends before it begins", "tensors end before they begin",
		"The second of the data_offsets is smaller than the first.", "data_offsets of model.norm.weight are [8,4]", refValidate + ", InvalidOffset"},
	{HeaderOverlap, Error, "tensors overlap", "tensors overlap others",
		"Two tensors claim the same bytes. The format does not allow it, not even for tied weights.",
		"lm_head.weight begins at 0, inside of model.embed_tokens.weight", refValidate + ", InvalidOffset"},
	{HeaderHole, Error, "bytes that belong to no tensor", "ranges of bytes belong to no tensor",
		"The data has bytes between tensors that no tensor describes. The format does not allow it: other content could be hidden there.",
		"4 bytes before model.norm.weight belong to no tensor", refValidate + ", InvalidOffset"},
	{HeaderLimit, Error, "over a limit of the caller", "headers are over a limit of the caller",
		"The header is longer, or has more tensors or dimensions, than the calling program allows.", "", ""},

	{HeaderDuplicate, Warning, "tensor name given twice", "tensor names are given twice",
		"The format disallows duplicate names. The reference takes the last entry without a word; other readers take the first, or refuse.",
		"model.norm.weight is given twice; the last entry counts", refFormat + "; " + refSerde},
	{HeaderDuplicateKey, Warning, "metadata key given twice", "metadata keys are given twice",
		"The format disallows duplicate keys. The reference takes the last value.", "", refFormat + "; " + refSerde},
	{HeaderLeadingBlanks, Warning, "header does not begin with {", "headers do not begin with {",
		"Blanks stand before the header's opening brace. The format disallows it, the reference accepts it.", "", refFormat},
	{HeaderTrailing, Note, "header padded with other than spaces", "headers are padded with other than spaces",
		"Tabs or line ends stand after the header's closing brace. The format wants spaces; the reference accepts any blanks.", "", refFormat},
	{HeaderArrayForm, Warning, "tensor written as an array", "tensors are written as arrays",
		"The tensor is a JSON array of dtype, shape and data_offsets. The reference accepts it by accident; other readers do not.",
		`{"a":["F32",[1],[0,4]]}`, refSerde},
	{HeaderDTypeObject, Warning, "dtype written as an object", "dtypes are written as objects",
		"The dtype is an object with one null member. The reference accepts it by accident; other readers do not.",
		`{"dtype":{"F32":null}}`, refSerde},
	{HeaderMetadataNull, Note, "__metadata__ is null", "__metadata__ is null",
		"The format wants a map of strings. The reference takes null for none.", "", refSerde},
	{HeaderExtraField, Warning, "unknown field", "fields are unknown",
		"A tensor has a field that the format does not know. The reference ignores it.", "", refSerde},
	{HeaderDimension, Warning, "dimension over 2^63-1", "dimensions are over 2^63-1",
		"The tensor has no elements, but a dimension that does not fit a signed 64-bit integer. The reference accepts it; torch and numpy cannot load it.", "", ""},
	{HeaderUnaligned, Note, "data does not start on a multiple of 8", "data sections do not start on a multiple of 8",
		"The header's length plus 8 is no multiple of 8, so that views of the mapped file may need a copy. The reference writer pads the header with spaces.", "", refTensor + ", prepare"},
	{TensorUnaligned, Note, "tensors not aligned to their elements", "files have tensors that are not aligned to their elements",
		"Tensors begin at offsets that are no multiple of their element's size, so that they cannot be viewed without a copy. The reference writer orders tensors by element size, largest first.", "", refTensor + ", prepare"},
	{HeaderRank, Note, "more than 64 dimensions", "tensors have more than 64 dimensions",
		"The format does not limit the number of dimensions; numpy and torch do, to 64.", "", ""},
	{HeaderSplitRow, Note, "rows end inside a byte", "tensors have rows that end inside a byte",
		"The tensor fills whole bytes but its rows, of 4- or 6-bit elements, do not. torch cannot load it, and rows cannot be sliced.", "", ""},
	{HeaderName, Note, "odd tensor name", "tensor names are odd",
		"The name is empty or holds control, invisible or bidirectional characters, which can mislead whoever reads a listing.", "", ""},
}
