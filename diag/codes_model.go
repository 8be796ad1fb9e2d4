package diag

// Models: tensors held against config.json.
const (
	TensorMissing    Code = "M001"
	TensorUnexpected Code = "M002"
	TensorShape      Code = "M003"
	ConfigDuplicate  Code = "M010"
)

var modelCodes = []Info{
	{TensorMissing, Error, "tensor missing", "tensors that the config calls for are missing",
		"The model that config.json describes has this tensor and the checkpoint does not. from_pretrained fills it with random numbers after one warning.",
		"visual.blocks.0.attn.qkv.weight is missing: want [3840,1280]", "transformers 5.23.0 modeling_utils.py, missing_keys"},
	{TensorUnexpected, Error, "tensor unexpected", "tensors are not in the model that the config describes",
		"The checkpoint holds a tensor that the model of config.json has no place for. from_pretrained leaves it out after one warning.",
		"model.layers.28.mlp.up_proj.weight is not in the model: config has 28 layers (0 to 27)", "transformers 5.23.0 modeling_utils.py, unexpected_keys"},
	{TensorShape, Error, "tensor of the wrong shape", "tensors have the wrong shape",
		"The tensor's shape is not the one that config.json leads to. from_pretrained raises an error.",
		"model.embed_tokens.weight is [128,32], config.json leads to [120,32]", "transformers 5.23.0 modeling_utils.py, mismatched_keys"},
	{ConfigDuplicate, Warning, "config key twice", "config keys occur twice",
		"config.json has the same key twice in one object. Python takes the last one; other readers may take the first, or refuse the file.",
		"key hidden_size stands in config.json twice", "Python json.load"},
}
