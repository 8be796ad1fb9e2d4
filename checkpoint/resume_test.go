package checkpoint_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/checkpoint/checkpointtest"
)

// TestResumption takes files away and looks at the verdict. What the Trainer
// does in each case was run with transformers 5.23.0.
func TestResumption(t *testing.T) {
	const full, lora = real + "/trainer-full-all/checkpoint-20", real + "/trainer-lora-all-state/checkpoint-20"
	remove, truncate := checkpointtest.Remove, checkpointtest.Truncate
	const optim1 = "global_step2/zero_pp_rank_1_mp_rank_00_optim_states.pt"
	for name, tt := range map[string]struct {
		dir     string
		damage  []checkpointtest.Damage
		want    checkpoint.Resumable
		reason  string // part of the reasons, "" if none
		missing string
		world   int
		partly  bool // not complete
	}{
		"whole":                                  {dir: full, want: checkpoint.ResumeExact, world: 1},
		"LoRA whole":                             {dir: lora, want: checkpoint.ResumeExact, world: 1},
		"optimizer gone":                         {dir: full, damage: []checkpointtest.Damage{remove("optimizer.pt")}, want: checkpoint.ResumeWeightsOnly, reason: "throws scheduler.pt away", missing: "optimizer.pt", world: 1},
		"scheduler gone":                         {dir: lora, damage: []checkpointtest.Damage{remove("scheduler.pt")}, want: checkpoint.ResumeWeightsOnly, reason: "throws optimizer.pt away", missing: "scheduler.pt", world: 1},
		"rng gone":                               {dir: full, damage: []checkpointtest.Damage{remove("rng_state.pth")}, want: checkpoint.ResumeWeightsOnly, reason: "data order", missing: "rng_state.pth"},
		"training_args gone":                     {dir: full, damage: []checkpointtest.Damage{remove("training_args.bin")}, want: checkpoint.ResumeExact, world: 1},
		"sentinel":                               {dir: full, damage: []checkpointtest.Damage{checkpointtest.Replace("checkpoint-is-incomplete.txt", "")}, want: checkpoint.ResumeNo, reason: "without a word", world: 1, partly: true},
		"trainer_state gone":                     {dir: full, damage: []checkpointtest.Damage{remove("trainer_state.json")}, want: checkpoint.ResumeWeightsOnly, reason: "refuses to resume", missing: "trainer_state.json", world: 1, partly: true},
		"weights gone":                           {dir: full, damage: []checkpointtest.Damage{remove("model.safetensors")}, want: checkpoint.ResumeNo, reason: "not whole", partly: true},
		"weights cut":                            {dir: full, damage: []checkpointtest.Damage{truncate("model.safetensors", 0.5)}, want: checkpoint.ResumeNo, reason: "not whole", partly: true},
		"adapter config gone":                    {dir: lora, damage: []checkpointtest.Damage{remove("adapter_config.json")}, want: checkpoint.ResumeNo, reason: "not whole", partly: true},
		"optimizer cut":                          {dir: full, damage: []checkpointtest.Damage{truncate("optimizer.pt", 0.5)}, want: checkpoint.ResumeWeightsOnly, reason: "optimizer.pt:", world: 1},
		"rng of rank 1 gone":                     {dir: full, damage: []checkpointtest.Damage{rename("rng_state.pth", "rng_state_0.pth"), copyFile("rng_state_0.pth", "rng_state_2.pth")}, want: checkpoint.ResumeWeightsOnly, reason: "process 1", missing: "rng_state_1.pth", world: 3},
		"only the first of several rng":          {dir: full, damage: []checkpointtest.Damage{rename("rng_state.pth", "rng_state_0.pth")}, want: checkpoint.ResumeWeightsOnly, reason: "process 1", missing: "rng_state_1.pth", world: 2},
		"XLA, all ranks":                         {dir: full, damage: xla(2), want: checkpoint.ResumeExact, world: 2},
		"XLA, one rank gone":                     {dir: full, damage: append(xla(2), remove("rank1-of-2-optimizer.pt")), want: checkpoint.ResumeWeightsOnly, reason: "no optimizer.pt", world: 2},
		"FSDP sharded":                           {dir: "FSDP", want: checkpoint.ResumeExact, world: 2},
		"FSDP without the model's .metadata":     {dir: "FSDP", damage: []checkpointtest.Damage{remove("pytorch_model_fsdp_0/.metadata")}, want: checkpoint.ResumeNo, reason: "written last", missing: "pytorch_model_fsdp_0/.metadata", world: 2, partly: true},
		"FSDP without the optimizer's .metadata": {dir: "FSDP", damage: []checkpointtest.Damage{remove("optimizer_0/.metadata")}, want: checkpoint.ResumeWeightsOnly, reason: "written last", missing: "optimizer_0/.metadata", world: 2},
		"FSDP without an optimizer":              {dir: "FSDP", damage: []checkpointtest.Damage{func(dir string) error { return os.RemoveAll(filepath.Join(dir, "optimizer_0")) }}, want: checkpoint.ResumeWeightsOnly, reason: "no directory optimizer_0", missing: "optimizer_0/", world: 2},
		"FSDP, a shard gone":                     {dir: "FSDP", damage: []checkpointtest.Damage{remove("pytorch_model_fsdp_0/__1_0.distcp")}, want: checkpoint.ResumeNo, reason: "__1_0.distcp is missing", missing: "pytorch_model_fsdp_0/__1_0.distcp", world: 2, partly: true},
		"FSDP, a shard cut":                      {dir: "FSDP", damage: []checkpointtest.Damage{truncate("optimizer_0/__0_0.distcp", 0.5)}, want: checkpoint.ResumeWeightsOnly, reason: "of at least", world: 2},
		"FSDP in one file":                       {dir: "FSDP1", want: checkpoint.ResumeExact, world: 2},
		"FSDP in one file, no optimizer":         {dir: "FSDP1", damage: []checkpointtest.Damage{remove("optimizer.bin")}, want: checkpoint.ResumeWeightsOnly, reason: "no optimizer.bin", missing: "optimizer.bin", world: 2},
		"FSDP in one file, no scheduler":         {dir: "FSDP1", damage: []checkpointtest.Damage{remove("scheduler.pt")}, want: checkpoint.ResumeWeightsOnly, reason: "no scheduler.pt", missing: "scheduler.pt", world: 2},
		"rng of two processes":                   {dir: full, damage: []checkpointtest.Damage{rename("rng_state.pth", "rng_state_0.pth"), copyFile("rng_state_0.pth", "rng_state_1.pth")}, want: checkpoint.ResumeExact, world: 2},
		"ZeRO-2 whole":                           {dir: "ZERO", want: checkpoint.ResumeExact, world: 2},
		"ZeRO-2 last rank gone":                  {dir: "ZERO", damage: []checkpointtest.Damage{remove(optim1)}, want: checkpoint.ResumeNo, reason: "rank 1 of 2", missing: optim1, world: 2, partly: true},
		"ZeRO-2 cut":                             {dir: "ZERO", damage: []checkpointtest.Damage{truncate(optim1, 0.5)}, want: checkpoint.ResumeNo, reason: "DeepSpeed cannot load it", world: 2, partly: true},
		"ZeRO-2 no latest":                       {dir: "ZERO", damage: []checkpointtest.Damage{remove("latest")}, want: checkpoint.ResumeNo, reason: "latest", missing: "latest", world: 2, partly: true},
		"ZeRO-2 latest dangling":                 {dir: "ZERO", damage: []checkpointtest.Damage{checkpointtest.Replace("latest", "../x")}, want: checkpoint.ResumeNo, reason: "not here", world: 2, partly: true},
		"ZeRO-2 keeps the scheduler itself":      {dir: "ZERO", damage: []checkpointtest.Damage{remove("scheduler.pt")}, want: checkpoint.ResumeExact, world: 2},
		"ZeRO-2 one rng":                         {dir: "ZERO", damage: []checkpointtest.Damage{remove("rng_state_1.pth")}, want: checkpoint.ResumeWeightsOnly, reason: "process 1", missing: "rng_state_1.pth", world: 2},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tt.dir
			switch dir {
			case "ZERO":
				dir = zeroOfTrainer(t)
			case "FSDP":
				dir = fsdpOfTrainer(t)
			case "FSDP1":
				dir = fsdpOneFile(t)
			}
			// checkpoint-N is looked at as such: its name says what must be in it.
			step := filepath.Join(t.TempDir(), "checkpoint-20")
			require.NoError(t, os.CopyFS(step, os.DirFS(checkpointtest.Damaged(t, dir, tt.damage...))))
			c, err := checkpoint.Open(t.Context(), step, nil)
			require.NoError(t, err)
			defer func() { require.NoError(t, c.Close()) }()
			got := c.Resumption(t.Context())
			reasons := strings.Join(got.Reasons, "; ")
			require.Equal(t, tt.want, got.Resumable, reasons)
			require.Equal(t, tt.want == checkpoint.ResumeExact, len(got.Reasons) == 0, reasons)
			require.Contains(t, reasons, tt.reason)
			if tt.missing != "" {
				require.Contains(t, got.Missing, tt.missing)
			}
			require.Equal(t, tt.world, got.WorldSize)
			require.Equal(t, !tt.partly, c.Complete(t.Context()))

			r, err := c.Validate(t.Context(), nil)
			require.NoError(t, err)
			require.Equal(t, got.Resumable, r.Resumable, "Validate says something else")
			require.Equal(t, !tt.partly, *r.Complete)
		})
	}
}

func rename(from, to string) checkpointtest.Damage {
	return func(dir string) error { return os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)) }
}

// TestResumptionFP16: a run in float16 has a loss scale besides.
func TestResumptionFP16(t *testing.T) {
	dir := checkpointtest.Damaged(t, real+"/trainer-full-all/checkpoint-20")
	look := func() *checkpoint.Resumption {
		c, err := checkpoint.Open(t.Context(), dir, &checkpoint.Options{TrainingArgs: &checkpoint.TrainingArgs{FP16: true}})
		require.NoError(t, err)
		defer func() { require.NoError(t, c.Close()) }()
		return c.Resumption(t.Context())
	}
	h := look()
	require.Equal(t, checkpoint.ResumeWeightsOnly, h.Resumable)
	require.Equal(t, []string{"scaler.pt"}, h.Missing)
	require.Contains(t, h.Reasons[0], "new loss scale")
	require.NoError(t, copyFile("scheduler.pt", "scaler.pt")(dir)) // a whole archive
	require.Equal(t, checkpoint.ResumeExact, look().Resumable)
}

// xla replaces optimizer.pt by one of each of n ranks, as XLA-FSDP writes them.
func xla(n int) (damage []checkpointtest.Damage) {
	for rank := range n {
		damage = append(damage, copyFile("optimizer.pt", fmt.Sprintf("rank%d-of-%d-optimizer.pt", rank, n)),
			copyFile("rng_state.pth", fmt.Sprintf("rng_state_%d.pth", rank)))
	}
	return append(damage, checkpointtest.Remove("optimizer.pt"), checkpointtest.Remove("rng_state.pth"))
}

// fsdpOfTrainer is what the Trainer writes with SHARDED_STATE_DICT on two
// processes: torch's distributed checkpoint of the model, and the same format for
// the optimizer.
func fsdpOfTrainer(t *testing.T) string {
	dir := t.TempDir()
	for _, sub := range []string{"pytorch_model_fsdp_0", "optimizer_0"} {
		require.NoError(t, os.CopyFS(filepath.Join(dir, sub), os.DirFS("zero/testdata/fsdp-w2/pytorch_model_fsdp_0")))
	}
	trainerFiles(t, dir)
	return dir
}

// fsdpOneFile is what it writes with FULL_STATE_DICT.
func fsdpOneFile(t *testing.T) string {
	dir := t.TempDir()
	trainerFiles(t, dir)
	for _, name := range []string{"pytorch_model_fsdp.bin", "optimizer.bin"} {
		require.NoError(t, copyFile("scheduler.pt", name)(dir)) // a whole archive
	}
	return dir
}

// zeroOfTrainer puts the Trainer's files beside DeepSpeed's of two ranks.
func zeroOfTrainer(t *testing.T) string {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/zero/z2")))
	trainerFiles(t, dir)
	return dir
}

// trainerFiles adds what the Trainer writes on two processes besides the shards.
func trainerFiles(t *testing.T, dir string) {
	const trainer = real + "/trainer-full-all/checkpoint-20/"
	for from, to := range map[string]string{"rng_state.pth": "rng_state_0.pth", "scheduler.pt": "scheduler.pt", "trainer_state.json": "trainer_state.json"} {
		data, err := os.ReadFile(trainer + from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, to), data, 0o644))
	}
	require.NoError(t, copyFile("rng_state_0.pth", "rng_state_1.pth")(dir))
}

func TestReadTrainingArgs(t *testing.T) {
	a, err := checkpoint.ReadTrainingArgs(t.Context(), real+"/trainer-full-best-limit2-peak2/checkpoint-20")
	require.NoError(t, err)
	require.Equal(t, &checkpoint.TrainingArgs{
		OutputDir: "outputs/full-best-limit2-peak2", SaveStrategy: "steps", SaveSteps: 10, SaveTotalLimit: 2,
		LoadBestModelAtEnd: true, Metric: "score", GreaterIsBetter: true, Optim: "adamw_torch_fused", MaxSteps: 40,
	}, a)
	a, err = checkpoint.ReadTrainingArgs(t.Context(), real+"/trainer-lora-only-model/checkpoint-40")
	require.NoError(t, err)
	require.True(t, a.SaveOnlyModel)

	_, err = checkpoint.ReadTrainingArgs(t.Context(), t.TempDir())
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = checkpoint.ReadTrainingArgs(t.Context(), checkpointtest.Damaged(t, real+"/trainer-full-all/checkpoint-20", checkpointtest.Truncate("training_args.bin", 0.5)))
	require.Error(t, err)
	_, err = checkpoint.ReadTrainingArgs(t.Context(), checkpointtest.Damaged(t, real+"/trainer-full-all/checkpoint-20", copyFile("optimizer.pt", "training_args.bin")))
	require.ErrorContains(t, err, "TrainingArguments")
}
