package diag

// Adapters: tensors held against adapter_config.json and a base.
const (
	AdapterConfigInvalid Code = "A001"
	AdapterTypeUnknown   Code = "A002"
	AdapterAlphaZero     Code = "A003"
	AdapterDefault       Code = "A004"
	AdapterFieldUnknown  Code = "A005"
	AdapterFieldTwice    Code = "A006"
	AdapterRegex         Code = "A007"
	AdapterNotPlain      Code = "A008"
	AdapterBasePath      Code = "A009"

	AdapterNoTargets       Code = "A010"
	AdapterNothingTargeted Code = "A011"
	AdapterTargetUnused    Code = "A012"
	AdapterUnsupported     Code = "A013"
	AdapterPatternUnused   Code = "A014"
	AdapterPatternClash    Code = "A015"

	AdapterNoTensors     Code = "A020"
	AdapterEmpty         Code = "A021"
	AdapterDType         Code = "A022"
	AdapterNames         Code = "A023"
	AdapterNameKept      Code = "A024"
	AdapterTensorTwice   Code = "A025"
	AdapterModuleMissing Code = "A026"
	AdapterTensorMissing Code = "A027"
	AdapterUneven        Code = "A028"
	AdapterExperts       Code = "A029"

	AdapterShape      Code = "A030"
	AdapterRank       Code = "A031"
	AdapterSwapped    Code = "A032"
	AdapterVocabulary Code = "A033"

	AdapterUntargeted  Code = "A040"
	AdapterNotInBase   Code = "A041"
	AdapterUnexplained Code = "A042"
	AdapterBaseTensor  Code = "A043"
	AdapterOtherBase   Code = "A044"
	AdapterBaseName    Code = "A045"
	AdapterNotHeld     Code = "A046"

	AdapterZero       Code = "A050"
	AdapterPartlyZero Code = "A051"
	AdapterLarge      Code = "A052"

	AdapterNotMerged Code = "A060"
	AdapterNotFinite Code = "A061"
	AdapterUntied    Code = "A062"
	AdapterOnTied    Code = "A063"

	AdapterAbsent Code = "A070"
	BaseAbsent    Code = "A071"
)

var adapterCodes = []Info{
	{AdapterConfigInvalid, Error, "adapter_config.json is not usable", "values in adapter_config.json are not usable",
		"adapter_config.json cannot be parsed, lacks what PEFT needs to load the adapter, or contradicts itself.",
		"r is 0, want a positive integer", "peft 0.21.2 config.py, tuners/lora/config.py"},
	{AdapterTypeUnknown, Error, "PEFT type unknown", "PEFT types are unknown",
		"peft_type is none of the methods of PEFT. PEFT raises a KeyError.",
		"peft_type LORAX is no type that PEFT 0.21 knows", "peft 0.21.2 utils/peft_types.py"},
	{AdapterAlphaZero, Error, "alpha is 0", "adapters have an alpha of 0",
		"The adapter is multiplied with lora_alpha / r (of some types alpha / r): with 0 it changes nothing.", "", "peft 0.21.2 tuners/lora/layer.py"},
	{AdapterDefault, Warning, "default assumed", "defaults are assumed",
		"A field on which shapes or scaling depend is absent. PEFT takes its own default without a word, which need not be the value of the training.",
		"lora_alpha is absent: PEFT takes its default of 8", "peft 0.21.2 tuners/lora/config.py"},
	{AdapterFieldUnknown, Warning, "unknown field", "fields are unknown",
		"adapter_config.json has a field that this PEFT type does not have. PEFT drops it with a warning even if it changes the arithmetic.", "", "peft 0.21.2 config.py, from_peft_type"},
	{AdapterFieldTwice, Warning, "name twice", "names stand twice",
		"A JSON object has the same name twice. Python takes the last.", "", "CPython json"},
	{AdapterRegex, Error, "regular expression not usable", "regular expressions are not usable",
		"A pattern is no regular expression of Python's, uses something that is not supported here (possessive quantifiers), or takes too long to match. What it selects could not be told.", "", "CPython 3.13 re"},
	{AdapterNotPlain, Note, "not plain LoRA", "options make the adapter more than plain LoRA",
		"An option makes loading or merging more than adding scaling*B*A to the base: a decomposition of the base at loading, or a variant of LoRA.",
		"init_lora_weights is pissa", "peft 0.21.2 tuners/lora/layer.py, variants.py"},
	{AdapterBasePath, Note, "base named by a local folder", "adapters name their base by a local folder",
		"base_model_name_or_path is a path on the machine of the training, which says nothing to others.", "", ""},

	{AdapterNoTargets, Warning, "target_modules absent", "adapters have no target_modules",
		"Without target_modules PEFT takes a table by model type, mostly the query and value projections, and silently leaves out the other tensors of the file.", "", "peft 0.21.2 utils/constants.py"},
	{AdapterNothingTargeted, Error, "nothing targeted", "adapters target nothing",
		"target_modules selects no module. PEFT raises NoMatchingPeftModuleError.", "", "peft 0.21.2 tuners/tuners_utils.py, inject_adapter"},
	{AdapterTargetUnused, Warning, "entry selects nothing", "entries select nothing",
		"An entry of target_modules selects no module, which PEFT takes no notice of as long as another one does.", "", "peft 0.21.2 tuners/tuners_utils.py, inject_adapter"},
	{AdapterUnsupported, Error, "module cannot be adapted", "modules cannot be adapted",
		"target_modules selects something that is no layer which the method can adapt. PEFT raises an error.", "", "peft 0.21.2 tuners/lora/model.py, _create_new_module"},
	{AdapterPatternUnused, Note, "pattern matches nothing", "patterns match nothing",
		"A key of rank_pattern or alpha_pattern matches no targeted module. PEFT warns.", "", "peft 0.21.2 tuners/tuners_utils.py, inject_adapter"},
	{AdapterPatternClash, Warning, "patterns overlap", "patterns overlap",
		"Two keys of alpha_pattern with different values match the same module. The first one in the file counts, and PEFT sorts them when it saves, so that the scaling may not be the trained one.", "", "peft 0.21.2 utils/other.py, get_pattern_key; config.py, save_pretrained"},

	{AdapterNoTensors, Error, "adapter without tensors", "adapters hold no tensors",
		"adapter_model.safetensors is a sound file that holds nothing. PEFT loads it and changes nothing.", "", ""},
	{AdapterEmpty, Error, "tensor is empty", "tensors are empty",
		"A tensor has a dimension of 0. That is what DeepSpeed ZeRO-3 leaves of a parameter that was not gathered before saving.", "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight has shape [0]", "huggingface/peft#1443"},
	{AdapterDType, Error, "tensor is not of a float type", "tensors are not of a float type",
		"A factor of the adapter is stored as integers. PEFT casts them to floats as they are; the scale is lost.", "", ""},
	{AdapterNames, Error, "names do not fit", "adapters have names that do not fit",
		"The tensors have other names than PEFT looks for: the prefix base_model.model. is missing or doubled, or modules have been moved between versions of transformers. PEFT warns of missing keys and goes on with an adapter that changes nothing. A warning where the names are those that the base has on disk, as older versions of transformers had them in memory too: merge-lora takes them.",
		"0 of 392 modules of the adapter exist in the base; 392 match after model -> model.language_model", "huggingface/peft#2566"},
	{AdapterNameKept, Error, "adapter's name kept in tensor names", "names of adapters are kept in tensor names",
		"Names such as lora_A.default.weight hold the adapter's own name, which save_pretrained removes. PEFT finds them only if it loads the adapter under that name.", "", "peft 0.21.2 utils/save_and_load.py"},
	{AdapterTensorTwice, Error, "tensor twice", "tensors are there twice",
		"Two names in the file mean the same tensor of the adapter.", "", ""},
	{AdapterModuleMissing, Error, "targeted module without tensors", "targeted modules have no tensors",
		"The config selects a module of the base for which the file holds nothing. PEFT starts it anew, with no effect, after one warning.", "", "peft 0.21.2 peft_model.py, missing adapter keys"},
	{AdapterTensorMissing, Error, "adapter tensor missing", "tensors of the adapter are missing",
		"A tensor that belongs to the adapter by its config is not in the file.", "model.layers.1.self_attn.v_proj.lora_B.weight is missing: want [16,8]", "peft 0.21.2 peft_model.py, missing adapter keys"},
	{AdapterUneven, Warning, "layers differ", "layers differ from the others",
		"Without a base: a layer lacks modules that the other layers of the adapter have.", "", ""},
	{AdapterExperts, Warning, "adapter on single experts", "adapters are on single experts",
		"The adapter was trained on each expert's own layers, which transformers joins since version 5. PEFT converts such an adapter as it loads, but not one that lacks a part (an error where gate or up is targeted alone), not for every model type, and not what it has besides the experts.",
		"the adapter is on gate_proj of experts and not on up_proj, which are one parameter of the base: PEFT refuses it", "peft 0.21.2 utils/transformers_weight_conversion.py"},

	{AdapterShape, Error, "tensor of the wrong shape", "tensors of the adapter have the wrong shape",
		"The shape is not the one that config and base lead to. PEFT raises an error (size mismatch).", "", "torch nn.Module.load_state_dict"},
	{AdapterRank, Error, "other rank than in the config", "tensors have another rank than the config",
		"The rank in the file is not the r, or the value of rank_pattern, of the module. Of other types than LoRA it may be what takes the place of the rank, such as n_frequency or block_size. PEFT raises an error (size mismatch).", "", "torch nn.Module.load_state_dict"},
	{AdapterSwapped, Error, "A and B swapped", "modules have A and B swapped",
		"The shapes of lora_A and lora_B fit when they are exchanged or transposed.", "", ""},
	{AdapterVocabulary, Error, "vocabulary resized", "tensors are of another vocabulary",
		"The tensor has a row (or column) for each token, and not as many as the base: the vocabulary was resized before the training.", "", "huggingface/peft#1554"},

	{AdapterUntargeted, Error, "tensors of an untargeted module", "tensors are of untargeted modules",
		"The file has tensors for a module that target_modules does not select. PEFT leaves them out without a word.", "", "peft 0.21.2 utils/save_and_load.py"},
	{AdapterNotInBase, Error, "module not in the base", "tensors are of modules that the base does not have",
		"The file has tensors for a module that does not exist in the base, such as a layer too many. PEFT leaves them out without a word.", "", "peft 0.21.2 utils/save_and_load.py"},
	{AdapterUnexplained, Error, "tensor unexplained", "tensors are unexplained",
		"The file has a tensor that config and base do not account for. PEFT leaves it out without a word.", "", "peft 0.21.2 utils/save_and_load.py"},
	{AdapterBaseTensor, Error, "weight of the base in the adapter", "weights of the base are in the adapter",
		"The file has a weight of the base itself that modules_to_save and bias do not account for. PEFT copies it over the base's without a word.", "", "peft 0.21.2 utils/save_and_load.py, load_state_dict(strict=False)"},
	{AdapterOtherBase, Error, "adapter of another base", "adapters are of another base",
		"No module of the adapter exists in the base, under no change of names.", "", ""},
	{AdapterBaseName, Warning, "base has another name", "bases have another name",
		"base_model_name_or_path is not the name of the base. PEFT does not compare them. A note where only the name of its directory is known.", "", ""},
	{AdapterNotHeld, Note, "PEFT type not described", "adapters are of types that are not described",
		"The PEFT type is known by name, but not which tensors it has.", "", "peft 0.21.2 utils/peft_types.py"},

	{AdapterZero, Warning, "adapter does nothing", "adapters do nothing",
		"Every lora_B, or what takes its place in other types, is zero as before the first step: the adapter changes nothing.", "392 of 392 lora_B are all zero: the adapter equals the base", "haotian-liu/LLaVA#1734"},
	{AdapterPartlyZero, Warning, "lora_B is zero", "lora_B are zero",
		"Some lora_B, or what takes their place in other types, are zero and others are not: these modules were not trained, or their weights are lost.", "", ""},
	{AdapterLarge, Warning, "value beyond float16", "values are beyond float16",
		"An element is larger than float16 can hold, 65504. No usual training leads there, and merged into a float16 base it most likely becomes infinite.",
		"lora_B of q_proj: 1 of 128 elements are beyond float16, the largest is 254846", ""},

	{AdapterNotMerged, Error, "adapter cannot be merged", "parts of adapters cannot be merged",
		"The weights that PEFT's merge would give cannot be computed exactly from base and adapter alone, or the adapter is of a kind that has no merge. Nothing is written.",
		"init_lora_weights is pissa: loading runs an SVD of the base", "peft 0.21.2 tuners/lora/layer.py, merge"},
	{AdapterNotFinite, Error, "merged weight is not finite", "merged weights are not finite",
		"A merged weight holds NaN or infinities. PEFT writes it without a word, unless safe_merge is set. Nothing is written.", "", "peft 0.21.2 tuners/lora/layer.py, merge"},
	{AdapterUntied, Note, "weights are no longer tied", "weights are no longer tied",
		"modules_to_save trained one of two tied weights on its own. The merged model stores both, and tie_word_embeddings is false in its config.json.", "", ""},
	{AdapterOnTied, Warning, "adapter on a tied output embedding", "adapters are on tied output embeddings",
		"The adapter changes the output embedding, which is one weight with the input embedding. Merging changes both, as in PEFT; in training only the output was changed.", "", "peft 0.21.2 tuners/tuners_utils.py, tied target modules"},

	{AdapterAbsent, Error, "no adapter here", "directories hold no adapter",
		"The directory that was given as an adapter's has neither adapter_config.json nor adapter_model.safetensors.", "no adapter here: this is a full model", "peft 0.21.2 config.py, from_pretrained"},
	{BaseAbsent, Error, "no base model here", "directories hold no base model",
		"The directory that was given as the base's holds no model: no weights in safetensors and no config.json of a model type that is known.", "the base is an adapter, no model", ""},
}
