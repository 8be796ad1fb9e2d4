package diag

// Checkpoint directories and training state.
const (
	NotACheckpoint       Code = "C001"
	NotHeld              Code = "C002"
	WeightsMissing       Code = "C003"
	FormatNotChecked     Code = "C004"
	ConfigInvalid        Code = "C005"
	JSONInvalid          Code = "C006"
	NotHeldRequired      Code = "C007"
	TrainerStateInvalid  Code = "C010"
	TrainerStateMissing  Code = "C011"
	StepMismatch         Code = "C012"
	LossNotFinite        Code = "C013"
	BestMissing          Code = "C014"
	SaveIncomplete       Code = "C015"
	ResumeInexact        Code = "C016"
	Leftover             Code = "C017"
	NeedsMerge           Code = "C018"
	RunEmpty             Code = "C019"
	DuplicateName        Code = "C020"
	NotTorchArchive      Code = "C021"
	TorchChecksum        Code = "C022"
	AdapterConfigMissing Code = "C023"
	ModelAmbiguous       Code = "C024"
)

var checkpointCodes = []Info{
	{NotACheckpoint, Error, "no checkpoint here", "directories hold no checkpoint",
		"The directory holds no file that a checkpoint is known by.",
		"outputs: no weights, no config and no checkpoint-N directory", ""},
	{NotHeld, Note, "tensors not held against a config", "checkpoints were not held against a config",
		"The structure of the files was checked, but not whether these are the tensors that the model needs: there is no config, or none of a model type that is known.",
		"structure valid; tensors NOT held against a config: model_type \"my_model\" is not known", ""},
	{WeightsMissing, Error, "no weights", "directories have no weights",
		"Config or training state are there, the weights are not.",
		"config.json is here, but no model.safetensors, no index and no shard", "transformers 5.23.0 modeling_utils.py, from_pretrained"},
	{FormatNotChecked, Warning, "format recognised, not checked", "files are of a format that is not checked",
		"The file is known by its name but is not read: pickled weights (.bin, .pt, .pth, .ckpt) can run code when loaded and carry no list of tensors that could be read safely.",
		"pytorch_model.bin: pickled weights, not checked", ""},
	{ConfigInvalid, Error, "config.json is not usable", "configs are not usable",
		"config.json is not JSON, or its values cannot describe a model.", "config.json: line 3, column 7: unexpected end", "transformers 5.23.0 configuration_utils.py"},
	{JSONInvalid, Error, "JSON file is damaged", "JSON files are damaged",
		"A file that from_pretrained or the tokenizer parses is not JSON.", "tokenizer_config.json: the text ends too early", ""},
	{NotHeldRequired, Error, "tensors could not be held against a config, which was required", "checkpoints could not be held against a config, which was required",
		"--require-config (ValidateOptions.RequireConfig) makes it an error when tensors cannot be held against a config.", "", ""},
	{TrainerStateInvalid, Error, "trainer_state.json is not usable", "trainer states are not usable",
		"The file is cut or is not what the Trainer writes. NaN and Infinity, which Python writes, are accepted.", "", "transformers 5.23.0 trainer_callback.py, TrainerState"},
	{TrainerStateMissing, Warning, "trainer_state.json missing", "trainer states are missing",
		"The Trainer writes trainer_state.json last, so a checkpoint without it was most likely not finished. Resuming raises FileNotFoundError.", "", "transformers 5.23.0 trainer.py, _save_checkpoint"},
	{StepMismatch, Warning, "step differs from the directory's name", "steps differ from their directory's name",
		"The Trainer resumes from the highest N of checkpoint-N but trains on from global_step.", "", "transformers 5.23.0 trainer_utils.py, get_last_checkpoint"},
	{LossNotFinite, Warning, "loss is not finite", "losses are not finite",
		"The log in trainer_state.json has NaN or infinite losses or gradient norms.", "", ""},
	{BestMissing, Note, "best checkpoint not here", "best checkpoints are not here",
		"best_model_checkpoint names a directory that does not lie beside this one.", "", "transformers 5.23.0 trainer.py, _load_best_model"},
	{SaveIncomplete, Error, "save was not finished", "saves were not finished",
		"The directory holds checkpoint-is-incomplete.txt, which the Trainer's SIGTERM checkpoint writes first and removes last. Nothing in transformers reads it: resuming takes the directory without a word.", "", "transformers 5.23.0 trainer_jit_checkpoint.py"},
	{ResumeInexact, Note, "cannot be resumed exactly", "checkpoints cannot be resumed exactly",
		"The weights can be loaded, but training cannot continue as if it had not stopped. The Trainer says nothing when optimizer.pt or scheduler.pt is missing: it then starts with a new optimizer AND a new scheduler.",
		"saved with save_only_model: weights only, a resumed run starts with a new optimizer", "transformers 5.23.0 trainer.py, _load_optimizer_and_scheduler"},
	{Leftover, Warning, "leftover of a save that was killed", "files are leftovers of saves that were killed",
		"safetensors writes to a hidden temporary file and renames it. A process that is killed leaves it behind, as large as the model.", ".tmpAb3xYz (16.58 GB)", "safetensors 0.8.0, serialize_to_file"},
	{NeedsMerge, Note, "weights are in training shards only", "checkpoints have their weights in training shards only",
		"No consolidated weights file: from_pretrained cannot load this directory.", "", "DeepSpeed 0.19.8 zero_to_fp32.py; transformers 5.23.0 trainer.py"},
	{RunEmpty, Error, "checkpoint directory is empty", "checkpoint directories are empty",
		"A checkpoint-N directory with nothing in it: a save or a deletion that was killed.", "", ""},
	{DuplicateName, Warning, "name twice in one JSON object", "names are twice in one JSON object",
		"Python and Go take the last value without a word; others take the first.", "", "Python json.load"},
	{NotTorchArchive, Error, "not a torch.save file", "files are not torch.save files",
		"A .pt, .pth or .bin file that torch.save wrote is a zip archive; this one is not, or is cut.", "", "PyTorch 2.15 caffe2/serialize/inline_container.cc"},
	{TorchChecksum, Error, "torch.save file is damaged", "torch.save files are damaged",
		"The bytes of a member do not have the checksum that the archive gives. torch.load does not look at checksums and loads the damaged numbers. Checked with --values.",
		"optimizer.pt: archive/data/17 has CRC-32 8a1f03c2, want 03bd11aa", "PyTorch 2.15; pytorch#28858, #126952"},
	{AdapterConfigMissing, Error, "adapter_config.json missing", "adapter configs are missing",
		"The adapter's weights are here without the config that says their rank, scaling and targets. PEFT cannot load them.", "", "peft 0.21.2 config.py, from_pretrained"},
	{ModelAmbiguous, Error, "no file is the model's", "directories have several files of which none is the model's",
		"Several safetensors files lie here, without an index, and none has a name that from_pretrained looks for.", "", "transformers 5.23.0 modeling_utils.py, _get_resolved_checkpoint_files"},
}
