package diag

// Values: what the tensors hold. Only looked at on demand.
const (
	ValueNaN Code = "V001"
	ValueInf Code = "V002"
)

var valueCodes = []Info{
	{ValueNaN, Error, "NaN in a tensor", "tensors hold NaN",
		"At least one element is not a number. Training diverged, or the bytes are damaged.", "", ""},
	{ValueInf, Error, "infinity in a tensor", "tensors hold infinities",
		"At least one element is infinite: an overflow in training or in a conversion to float16.", "", ""},
}
