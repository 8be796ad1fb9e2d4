package diag

// Checkpoint directories and training state.
const (
	NotACheckpoint Code = "C001"
	NotHeld        Code = "C002"
)

var checkpointCodes = []Info{
	{NotACheckpoint, Error, "no checkpoint here", "directories hold no checkpoint",
		"The directory holds no file that a checkpoint is known by.", "", ""},
	{NotHeld, Note, "tensors not held against a config", "checkpoints were not held against a config",
		"The file structure was checked, but not whether these are the tensors that the model needs: there is no config, or none that is known.", "", ""},
}
