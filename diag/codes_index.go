package diag

// Indexes and shards: model.safetensors.index.json against the files it names.
const (
	IndexInvalid      Code = "I001"
	IndexDuplicate    Code = "I002"
	IndexUnsafeName   Code = "I003"
	IndexMissing      Code = "I004"
	ShardMissing      Code = "I010"
	TensorNotInShard  Code = "I011"
	TensorMisplaced   Code = "I012"
	TensorTwice       Code = "I013"
	TensorNotInIndex  Code = "I014"
	ShardStray        Code = "I015"
	ShardCount        Code = "I016"
	IndexTotalSize    Code = "I017"
	IndexBesideSingle Code = "I018"
)

var indexCodes = []Info{
	{IndexInvalid, Error, "index is not usable", "indexes are not usable",
		"The index is not a JSON object with a weight_map of tensor names to file names.", "", "transformers 5.23.0 modeling_utils.py"},
	{IndexDuplicate, Warning, "name twice in the index", "names are twice in the index",
		"A name occurs twice in one object of the index. Python takes the last value.", "", ""},
	{IndexUnsafeName, Error, "index names an unsafe file", "files that the index names are unsafe",
		"The index names a file outside of its directory, or one that cannot be a file name: an absolute path, one with .., a backslash, a URL. It is not opened.",
		"the index names \"../../etc/passwd\"", ""},
	{IndexMissing, Error, "shards without an index", "sets of shards have no index",
		"Files named like shards are there, but the index that says which tensors belong to the model is not.",
		"4 shards, but no model.safetensors.index.json", "transformers 5.23.0 modeling_utils.py"},
	{ShardMissing, Error, "shard missing", "shards are missing",
		"The index names a file that is not there. Some engines leave its tensors uninitialised without a word.",
		"missing model-00003-of-00004.safetensors (182 tensors)", "transformers 5.23.0 utils/hub.py, get_checkpoint_shard_files"},
	{TensorNotInShard, Error, "tensor absent from its shard", "tensors are in the index but in no shard",
		"The index says that a file holds the tensor; neither that file nor another does.", "", ""},
	{TensorMisplaced, Error, "tensor in another shard than the index says", "tensors are in other shards than the index says",
		"The index belongs to another save than the shards, or shards were renamed.", "", ""},
	{TensorTwice, Error, "tensor in several shards", "tensors are in several shards",
		"Two files of one model hold a tensor of this name. Which one counts depends on the reader.", "", ""},
	{TensorNotInIndex, Warning, "tensor not in the index", "tensors are in shards but not in the index",
		"A shard holds a tensor that the index does not name. Readers that go by the index never see it; others load it.", "", ""},
	{ShardStray, Warning, "file that the index does not name", "files are not named by the index",
		"A safetensors file lies beside the index that the index does not name: left over from another save, or missing in the index. Engines that load all *.safetensors mix it in.",
		"model.safetensors is not in the index", ""},
	{ShardCount, Error, "incomplete set of shards", "sets of shards are incomplete",
		"The file names say how many shards there are, and not all of them are there.", "", ""},
	{IndexTotalSize, Warning, "total_size is wrong", "indexes have a wrong total_size",
		"metadata.total_size of the index is not the sum of its tensors' bytes. Some tools plan memory by it.", "", "huggingface_hub 1.5 serialization, total_size"},
	{IndexBesideSingle, Warning, "index beside a single file", "indexes lie beside a single file",
		"Both model.safetensors and an index of shards are there. transformers loads model.safetensors and never looks at the index.", "", "transformers 5.23.0 modeling_utils.py, _get_resolved_checkpoint_files"},
}
