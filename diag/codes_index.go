package diag

// Indexes and shards: model.safetensors.index.json against the files it names.
const (
	IndexInvalid Code = "I001"
)

var indexCodes = []Info{
	{IndexInvalid, Error, "index is not usable", "indexes are not usable",
		"The index is not a JSON object with a weight_map of tensor names to file names.", "", "transformers 5.23.0 modeling_utils.py"},
}
