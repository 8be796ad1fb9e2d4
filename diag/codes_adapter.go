package diag

// Adapters: tensors held against adapter_config.json and a base.
const (
	AdapterConfigInvalid Code = "A001"
)

var adapterCodes = []Info{
	{AdapterConfigInvalid, Error, "adapter_config.json is not usable", "adapter configs are not usable",
		"adapter_config.json cannot be parsed, or lacks what PEFT needs to load the adapter.", "", "peft 0.21.2 config.py"},
}
