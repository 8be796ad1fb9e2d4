package checkpoint

import "github.com/safeckpt/safeckpt/diag"

// checkKind says when there is nothing to check, or nothing that can be.
func checkKind(v *validation) error {
	c := v.c
	switch {
	case c.kind == KindUnknown && c.files.has("model_index.json"):
		p := diag.New(diag.NotACheckpoint, "a diffusers pipeline: its models lie in sub-directories")
		p.Fix = "verify each of its model directories, e.g. unet or transformer"
		v.add(p)
	case c.kind == KindUnknown && stepOf(c.dir) >= 0 && len(c.files.files)+len(c.files.dirs) == 0:
		p := diag.New(diag.RunEmpty, "the checkpoint directory is empty")
		p.Cause = "a save or a deletion was killed"
		p.Fix = "delete it: the Trainer would try to resume from it"
		v.add(p)
	case c.kind == KindUnknown && c.files.hasTrainerFiles():
		p := diag.New(diag.WeightsMissing, "training state is here, but no weights")
		p.Want = "model.safetensors, an index and shards, adapter_model.safetensors, or DeepSpeed or FSDP shards"
		p.Cause = "the save or a deletion was killed, or only some files were copied"
		p.Fix = "resume from another checkpoint"
		v.add(p)
	case c.kind == KindUnknown:
		p := diag.New(diag.NotACheckpoint, "no checkpoint here: no weights, no config and no checkpoint-N directory")
		p.Got = diag.Count(len(c.files.files), "file") + ", " + diag.Count(len(c.files.dirs), "directory")
		p.Cause = "the path names another directory, or everything in it is gone"
		p.Fix = "give the directory that holds model.safetensors, adapter_model.safetensors or checkpoint-N"
		v.add(p)
	case c.kind == KindZeRO:
		p := diag.New(diag.NeedsMerge, "no consolidated weights: they lie in DeepSpeed ZeRO shards")
		p.Cause = "DeepSpeed saved them, with stage3_gather_16bit_weights_on_model_save off or through its own save_checkpoint"
		p.Fix = "safeckpt merge-zero DIR OUT, or resume with DeepSpeed"
		v.add(p)
	case c.kind == KindFSDP:
		p := diag.New(diag.NeedsMerge, "no consolidated weights: they lie in FSDP shards")
		p.Cause = "FSDP saved with SHARDED_STATE_DICT"
		p.Fix = "safeckpt merge-zero DIR OUT, or resume with FSDP"
		v.add(p)
	}
	return nil
}
