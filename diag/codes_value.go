package diag

// Values: what the tensors hold. Only looked at on demand.
const (
	ValueNaN   Code = "V001"
	ValueInf   Code = "V002"
	TiedDiffer Code = "V003"
	TiedEqual  Code = "V004"
	ValueZero  Code = "V005"
)

var valueCodes = []Info{
	{ValueNaN, Error, "NaN in a tensor", "tensors hold NaN",
		"At least one element is not a number. Training diverged, or the bytes are damaged.",
		"model.norm.weight: 3 of 3584 elements are NaN", ""},
	{ValueInf, Error, "infinity in a tensor", "tensors hold infinities",
		"At least one element is infinite: an overflow in training or in a conversion to float16.",
		"lm_head.weight: 1 of 544997376 elements are infinite", ""},
	{TiedDiffer, Error, "tied weights differ", "tied weights differ",
		"config.json ties two weights, but the files hold both and they are not equal. transformers then keeps both, other programs take one of them.",
		"lm_head.weight and model.embed_tokens.weight should be one weight, and differ", "transformers 5.23.0 modeling_utils.py, tie_weights"},
	{TiedEqual, Note, "tied weight stored twice", "tied weights are stored twice",
		"The same bytes stand in the files twice. Nothing is wrong; save_pretrained would write them once.",
		"lm_head.weight and model.embed_tokens.weight are one weight and stand in the files twice, equal: 1.09 GB more than needed", ""},
	{ValueZero, Warning, "a weight of zeros", "weights hold nothing but zeros",
		"A tensor of two or more dimensions is zero throughout. Trained weights never are: its bytes were not written, or it was never trained.",
		"model.layers.3.mlp.up_proj.weight: all 67895296 elements are zero", ""},
}
