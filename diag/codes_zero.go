package diag

// DeepSpeed ZeRO and FSDP shards, and merging them.
const (
	ShardsNotFound      Code = "Z001"
	ShardsConsolidated  Code = "Z002"
	TagMissing          Code = "Z003"
	TagInvalid          Code = "Z004"
	TagNotFound         Code = "Z005"
	RankMissing         Code = "Z006"
	RankExtra           Code = "Z007"
	RankFileDamaged     Code = "Z008"
	RankFileUnsafe      Code = "Z009"
	RankStorageShort    Code = "Z010"
	NotZeRO             Code = "Z011"
	StageUnknown        Code = "Z012"
	RanksDisagree       Code = "Z013"
	RanksMixedSteps     Code = "Z014"
	PartitionSize       Code = "Z015"
	ModelStatesMissing  Code = "Z016"
	RankFileContent     Code = "Z017"
	TensorParallel      Code = "Z018"
	ShardLayoutUnknown  Code = "Z019"
	FrozenFromModule    Code = "Z020"
	TiesDropped         Code = "Z021"
	ExpertsWorkingCopy  Code = "Z022"
	WorkingCopyDiffers  Code = "Z023"
	ShardChecksum       Code = "Z024"
	ShardChecksumAbsent Code = "Z025"
	WorldSizeFixed      Code = "Z026"
	StepBehind          Code = "Z027"
	FragmentPlace       Code = "Z028"
	MergeNotHeld        Code = "Z029"
	WorkingCopyAbsent   Code = "Z030"
	PrefixDropped       Code = "Z031"
)

const zeroSource = "DeepSpeed 0.19.8 utils/zero_to_fp32.py"

var zeroCodes = []Info{
	{ShardsNotFound, Error, "no shards here", "directories hold no shards",
		"The directory holds no DeepSpeed ZeRO checkpoint: no latest file, no tag directory with *_optim_states.pt, and no checkpoint-N that has them.", "", zeroSource},
	{ShardsConsolidated, Error, "already consolidated", "directories are already consolidated",
		"The weights are in safetensors files and there are no shards: the run saved with save_only_model. Nothing has to be merged.", "", "transformers 5.23.0 training_args.py, save_only_model"},
	{TagMissing, Error, "no tag given and no latest file", "directories have no latest file",
		"Rank 0 writes the file latest as the last step of a save. Without it the save was not finished, or the file was not copied; which tag directory is meant has to be said.", "", zeroSource},
	{TagInvalid, Error, "latest holds no tag", "latest files hold no tag",
		"latest must hold the name of a directory beside it. One that holds a path could point anywhere and is not followed.", "", ""},
	{TagNotFound, Error, "tag directory not found", "tag directories were not found",
		"The directory that latest, or the option, names does not exist.", "", zeroSource},
	{RankMissing, Error, "rank's file missing", "ranks' files are missing",
		"Every rank writes its own part of the master weights. Without one of them the model cannot be put together.", "", zeroSource},
	{RankExtra, Error, "file of a rank that does not exist", "files are of ranks that do not exist",
		"Files of an older save with more ranks, or another precision, were left in the tag directory. Which belong together cannot be told by their names.", "", zeroSource},
	{RankFileDamaged, Error, "rank's file is damaged", "ranks' files are damaged",
		"The file is not a whole archive as torch.save writes it: empty, cut short, compressed, or contradicting itself.", "", "PyTorch 2.15 caffe2/serialize/inline_container.cc"},
	{RankFileUnsafe, Error, "rank's file would run code", "ranks' files would run code",
		"The pickle names a function that no checkpoint needs and that attacks use. DeepSpeed's script runs it. Nothing of it was run here.", "", "Python pickle"},
	{RankStorageShort, Error, "storage missing or too short", "storages are missing or too short",
		"A tensor's bytes are not in the archive, or fewer than the pickle says. DeepSpeed's script reads the bytes that follow in the file in their place.", "", "PyTorch 2.15 torch/serialization.py"},
	{NotZeRO, Error, "not a ZeRO checkpoint", "files are not of ZeRO checkpoints",
		"The optimizer file has neither a ZeRO stage nor partitions of master weights: it was saved with ZeRO off.", "", zeroSource},
	{StageUnknown, Error, "unknown ZeRO stage", "unknown ZeRO stages", "There are stages 1, 2 and 3.", "", zeroSource},
	{RanksDisagree, Error, "ranks disagree", "ranks disagree",
		"The ranks' files say different things of the run: stage, number of partitions, version, groups, sizes or names. They are of different saves. DeepSpeed's script looks at rank 0 only.", "", zeroSource},
	{RanksMixedSteps, Error, "ranks are of different steps", "ranks are of different steps",
		"The optimizer's step differs between ranks: an overwritten or half-copied save. DeepSpeed's script merges parts of both into one model without a word.", "", zeroSource},
	{PartitionSize, Error, "partitions do not add up", "partitions do not add up",
		"The parameters' shapes and the lengths of the flat groups do not fit: names and weights are of different saves or models.", "", zeroSource},
	{ModelStatesMissing, Error, "no model states", "tag directories have no model states",
		"Names and shapes of the parameters are only in *_model_states.pt.", "", zeroSource},
	{RankFileContent, Error, "rank's file lacks what a merge needs", "ranks' files lack what a merge needs",
		"A value in the pickle is missing, or is not of the type that DeepSpeed writes.", "", zeroSource},
	{TensorParallel, Error, "tensor-parallel checkpoint", "checkpoints are tensor-parallel",
		"Each tensor is also cut over tensor-parallel ranks, in a way that differs by model. These are not merged.", "", zeroSource},
	{ShardLayoutUnknown, Error, "layout that is not merged", "layouts are not merged",
		"The checkpoint was written by a variant of ZeRO whose pieces lie differently (MiCS, AutoEP).", "", zeroSource},
	{FrozenFromModule, Note, "frozen weights from the model file", "frozen weights are from the model file",
		"ZeRO stage 1 keeps frozen parameters only in the working precision, in the model file. DeepSpeed's script leaves them out.", "", zeroSource},
	{TiesDropped, Note, "tied weights", "tied weights",
		"Names that share one weight are written as full copies, or left out and listed in the metadata. DeepSpeed's script fails on them when it writes safetensors.", "", "DeepSpeed 0.19.8; DeepSpeed#8376"},
	{ExpertsWorkingCopy, Note, "experts in the working precision", "experts are in the working precision",
		"The weights of experts are taken from their own files, which hold the working copy and not the fp32 master weights.", "", zeroSource},
	{WorkingCopyDiffers, Error, "differs from the working copy", "tensors differ from the working copy",
		"A master weight, rounded, is not the value that the model file holds: the optimizer files and the model file are of different steps.", "", ""},
	{ShardChecksum, Error, "rank's file has a wrong checksum", "ranks' files have wrong checksums",
		"The bytes of a member are not those that were saved. torch.load does not look.", "", "PyTorch 2.15"},
	{ShardChecksumAbsent, Note, "no checksum", "members have no checksum",
		"The writer left the checksum out (torch.serialization.set_crc32_options(False)), so damage cannot be seen.", "", "PyTorch 2.15"},
	{WorldSizeFixed, Note, "resumes with the same number of ranks only", "checkpoints resume with the same number of ranks only",
		"DeepSpeed loads the optimizer state only into as many data-parallel ranks as saved it. Others need a universal checkpoint, or a new start from the merged weights.", "", "DeepSpeed 0.19.8 runtime/engine.py, load_checkpoint"},
	{StepBehind, Warning, "optimizer and model file are of different steps", "optimizer and model files are of different steps",
		"All ranks' optimizers are at one step, the model file's counter at another. That is normal only if a run was resumed without its optimizer state.", "", ""},
	{FragmentPlace, Error, "parameter lies elsewhere than the rank says", "parameters lie elsewhere than their ranks say",
		"Each rank's file lists where the pieces of parameters lie in its partition. They do not lie there by the shapes in the model file: the file is another rank's, or of another save.", "", "DeepSpeed 0.19.8 utils/tensor_fragment.py"},
	{MergeNotHeld, Note, "result not held against a config", "results were not held against a config",
		"There is no config.json, or none of a known model type, so it could not be checked that these are the tensors that the model needs.", "", ""},
	{WorkingCopyAbsent, Warning, "not held against a working copy", "merges were not held against a working copy",
		"The check was asked for, but the parameters have no copy in the precision that the model computed with: stage 3 and FSDP save none, except for the weights that the Trainer gathers.", "", "transformers 5.23.0 trainer.py, save_model"},
	{PrefixDropped, Note, "prefix dropped from names", "prefixes were dropped from names",
		"Lightning wraps the model before DeepSpeed sees it, so that all names begin with _forward_module. (module. in older versions). The model itself does not know these names.", "", "pytorch_lightning 2.6.6 utilities/deepspeed.py"},
}
