package diag

// Models: tensors held against config.json.
const (
	TensorMissing    Code = "M001"
	TensorUnexpected Code = "M002"
	TensorShape      Code = "M003"
	TensorEmpty      Code = "M004"
	LayoutsMixed     Code = "M005"
	TiedTwice        Code = "M006"
	TiedTargetOnly   Code = "M007"
	NamesTranslated  Code = "M008"
	TensorTolerated  Code = "M009"
	DTypeOther       Code = "M010"
	HeadUnknown      Code = "M011"
	TensorInteger    Code = "M012"

	QuantizationUnknown Code = "M013"
	QuantizationOther   Code = "M014"
	QuantizationAbsent  Code = "M015"
	QuantizedDType      Code = "M016"
	LayersAheadMissing  Code = "M017"
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
	{TensorEmpty, Error, "tensor saved empty", "tensors were saved empty",
		"The tensor has no elements though the model's has. Under DeepSpeed ZeRO-3 every rank holds a part of each weight, and a save without gathering writes the empty rest.",
		"model.norm.weight has shape [0], want [3584]", "DeepSpeed ZeRO-3, stage3_gather_16bit_weights_on_model_save"},
	{LayoutsMixed, Error, "layouts mixed", "checkpoints mix layouts",
		"Some tensors have the names of one layout of the model and some those of another. A checkpoint is written in one of them, whole: two saves got mixed.",
		"213 tensors are named as in layout save (model.layers.0...), 180 as in native (model.language_model.layers.14...)", "transformers 5.23.0 conversion_mapping.py"},
	{TiedTwice, Note, "tied weight stored twice", "tied weights are stored twice",
		"The config ties two tensors to one weight, and the checkpoint holds both. If they are equal that only costs space; if not, from_pretrained does not tie them (see --values).",
		"lm_head.weight repeats model.embed_tokens.weight: 1.09 GB", "transformers 5.23.0 modeling_utils.py, tie_weights"},
	{TiedTargetOnly, Note, "tied weight under its other name", "tied weights stand under their other names",
		"Of two tied tensors the checkpoint holds the one that save_pretrained leaves out. from_pretrained ties them the other way round.",
		"lm_head.weight stands for model.embed_tokens.weight", "transformers 5.23.0 modeling_utils.py, tie_weights"},
	{NamesTranslated, Note, "names that from_pretrained translates", "checkpoints have names that from_pretrained translates",
		"The names are not those of the model but of its base model, of the model with its head, or of an older version. from_pretrained translates them; other readers may not.",
		"27 names lack the prefix model., as a base model writes them", "transformers 5.23.0 core_model_loading.py, rename_source_key; conversion_mapping.py, legacy"},
	{TensorTolerated, Note, "tensor beside the model's", "tensors stand beside the model's",
		"The tensor is not one of the model's weights, or is missing from them, and transformers ignores that by rule.",
		"model.layers.0.self_attn.rotary_emb.inv_freq", "transformers 5.23.0 modeling_utils.py, _adjust_missing_and_unexpected_keys"},
	{DTypeOther, Warning, "weights of another dtype", "checkpoints have weights of another dtype",
		"Most of the weights are of another dtype than config.json says. from_pretrained loads them in the config's dtype or in the file's, depending on its dtype argument.",
		"weights are F32, config.json says bfloat16: 33.20 GB, 16.60 GB after a cast", "transformers 5.23.0 modeling_utils.py, dtype"},
	{HeadUnknown, Note, "only the base model was held against the config", "checkpoints were held against the base model only",
		"config.json names no class in architectures, or one that is not known, so tensors outside the base model were not judged.",
		"", "transformers 5.23.0 modeling_auto.py"},
	{TensorInteger, Error, "integer weights", "weights are stored as integers",
		"A weight that computes in floating point is stored as integers, and config.json has no quantization_config that says how to scale it. from_pretrained casts the integers as they are, without a word.",
		"model.norm.weight is stored as I32, want a floating-point type", "transformers 5.23.0 core_model_loading.py"},
	{QuantizationUnknown, Note, "quantization not known", "checkpoints are quantized in ways that are not known",
		"config.json says that the weights are quantized by a method whose tensors are not known. The rest of the model was held against the config; weights of linear maps, and what stands for them, were not judged.",
		"the weights of linear maps were not held against the config: how hqq stores them is not known", "transformers 5.23.0 quantizers/auto.py"},
	{QuantizationOther, Note, "other weights quantized than config.json says", "checkpoints have other weights quantized than their configs say",
		"Some weights are stored as they are though quantization_config does not except them, or the other way round. Each was held against the form that it has.",
		"3 of 200 weights that config.json says are quantized are stored as they are, 0 are quantized that it excepts: such as lm_head", "transformers 5.23.0 quantizers/base.py, get_modules_to_not_convert"},
	{QuantizationAbsent, Error, "not quantized though config.json says so", "checkpoints are not quantized though their configs say so",
		"config.json carries a quantization_config, and every weight is stored as it was trained. from_pretrained prepares the model for quantized weights and finds none of their scales.",
		"config.json says that the weights are quantized (gptq), and none of them is: model.layers.0.mlp.up_proj is BF16", "transformers 5.23.0 quantizers/auto.py"},
	{QuantizedDType, Error, "part of a quantized weight of the wrong dtype", "parts of quantized weights have the wrong dtype",
		"A tensor that stands for a quantized weight has a dtype that the method does not use there: its bytes mean something else.",
		"model.layers.0.mlp.up_proj.qweight is stored as F16, want I32, as gptq stores it", "bitsandbytes 0.50, AutoGPTQ 0.7, AutoAWQ 0.2.9, compressed-tensors 0.20"},
	{LayersAheadMissing, Note, "layers for multi-token prediction missing", "checkpoints lack layers for multi-token prediction",
		"config.json counts layers that predict further tokens, and the checkpoint does not hold them all. transformers does not use them and leaves them out when it saves; programs that guess tokens ahead need them.",
		"config.json promises 1 layer for multi-token prediction (num_nextn_predict_layers), the checkpoint has 0 of them", "transformers 5.23.0 modeling_deepseek_v3.py, _keys_to_ignore_on_load_unexpected"},
}
