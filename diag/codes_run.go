package diag

// Runs: the checkpoints of one training run together.
const (
	NothingUsable     Code = "R001"
	LatestNotUsable   Code = "R002"
	RunOlder          Code = "R003"
	RotationCounts    Code = "R010"
	BestUnprotected   Code = "R011"
	NextDeletesBest   Code = "R012"
	NextDeletesUsable Code = "R013"
	TouchedLater      Code = "R014"
	EndDeletes        Code = "R015"
	DiskFull          Code = "R020"
)

var runCodes = []Info{
	{NothingUsable, Error, "no usable checkpoint", "runs have no usable checkpoint",
		"There are checkpoint-N directories, but none of them is whole.", "", ""},
	{LatestNotUsable, Warning, "latest checkpoint not usable", "runs have a latest checkpoint that is not usable",
		"The Trainer resumes from the highest step, whatever is in that directory. It is not whole; an earlier one is.",
		"checkpoint-1500 is not whole; the last one that is, is checkpoint-1400", "transformers 5.23.0 trainer_utils.py, get_last_checkpoint"},
	{RunOlder, Warning, "checkpoint of an earlier run", "checkpoints are of an earlier run",
		"A run was started in the output directory of another one. The rotation deletes by age, resuming goes by the number: it would continue the old run.", "", "transformers 5.23.0 trainer_utils.py, rotate_checkpoints, get_last_checkpoint"},
	{RotationCounts, Warning, "directory that the rotation would delete", "directories that the rotation would delete",
		"The Trainer's rotation takes every directory named checkpoint-*, such as a copy called checkpoint-best: it uses up save_total_limit and is deleted.",
		"checkpoint-best", "transformers 5.23.0 trainer_utils.py, sort_checkpoints"},
	{BestUnprotected, Warning, "best checkpoint not protected", "best checkpoints are not protected",
		"The rotation keeps the best checkpoint by comparing paths as text. Another spelling of the same directory is not protected.", "", "transformers 5.23.0 trainer_utils.py, rotate_checkpoints"},
	{NextDeletesBest, Warning, "next save deletes the best", "next saves delete the best",
		"After the next save the best checkpoint is gone, unless it is copied elsewhere before.", "", ""},
	{NextDeletesUsable, Warning, "next save deletes the last usable", "next saves delete the last usable",
		"The rotation does not look into checkpoints: it keeps the newest, whole or not.", "", ""},
	{TouchedLater, Warning, "checkpoint changed after its save", "checkpoints were changed after their save",
		"A file that is written into checkpoint-N moves the directory's time of change. The rotation goes by that time: the checkpoint counts as the newest and another one is deleted in its place.", "", "transformers 5.23.0 trainer_utils.py, sort_checkpoints"},
	{EndDeletes, Note, "only the best stays at the end", "runs keep only the best at the end",
		"With save_total_limit=1 and a best checkpoint the Trainer deletes all others when training ends, the final one included.", "", "transformers 5.23.0 trainer.py, _finalize_training"},
	{DiskFull, Warning, "disk will be full", "disks will be full",
		"The next saves need more than the free space: a save needs room before the rotation makes any.", "Peak 531 GB, free 410 GB", ""},
}
