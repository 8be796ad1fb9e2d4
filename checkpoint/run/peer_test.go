package run

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/checkpoint/checkpointtest"
	"github.com/safeckpt/safeckpt/diag"
)

func python(t *testing.T) string {
	path := os.Getenv("SAFECKPT_PYTHON")
	if path == "" {
		t.Skip("SKIPPED: set SAFECKPT_PYTHON to a Python with transformers 5.23 and peft")
	}
	return path
}

// A heard is what Python said of a checkpoint.
type heard struct {
	Checkpoint, Snippet string
	Optimizer           *int // its step
	Printed, Raised     *string
	Warnings            []string
}

// hear runs a script that prints a line of JSON for each checkpoint: one process
// for all, which takes as long to start as to do the work.
func hear(t *testing.T, script string, args ...string) []heard {
	cmd := exec.Command(python(t), append([]string{filepath.Join("testdata", script)}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var all []heard
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, `{"checkpoint"`) {
			var h heard
			require.NoError(t, json.Unmarshal([]byte(line), &h))
			all = append(all, h)
		}
	}
	return all
}

// train runs a training of four steps, with a save at the end, and returns the
// run's directory.
func train(t *testing.T, kind string, args ...string) string {
	dir := filepath.Join(t.TempDir(), kind)
	if kind == "lora" {
		args = append(args, "--lora")
	}
	args = append([]string{"testdata/train.py", "--output_dir", dir, "--max_steps", "4", "--save_steps", "4"}, args...)
	out, err := exec.Command(python(t), args...).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "\noptimizer 4")
	return dir
}

// sentinel is the file that transformers 5 writes while a checkpoint that SIGTERM
// asked for is not finished.
func sentinel(dir string) error {
	return os.WriteFile(filepath.Join(dir, "checkpoint-is-incomplete.txt"), nil, 0o644)
}

// TestPeerResume takes files away and holds our verdict against what the Trainer
// does: it goes on with optimizer step 6 (exact), with a new optimizer (step 2,
// without a word), or it fails.
func TestPeerResume(t *testing.T) {
	python(t)
	const trained, fresh = 6, 2
	weights := map[string]string{"full": "model.safetensors", "lora": "adapter_model.safetensors"}
	tensors := map[string]string{
		"full": "model.layers.1.mlp.down_proj.weight",
		"lora": "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight",
	}
	for kind, file := range weights {
		t.Run(kind, func(t *testing.T) {
			dir := train(t, kind)
			remove, truncate := checkpointtest.Remove, checkpointtest.Truncate
			missing := diag.TensorMissing
			if kind == "lora" {
				missing = diag.AdapterTensorMissing
			}
			cases := []struct {
				name      string
				damage    []checkpointtest.Damage
				want      checkpoint.Resumable
				problem   diag.Code // "" if all is well but for resuming
				optimizer int       // its step two steps later; 0 if the Trainer refuses
				raised    string
				silent    bool // the Trainer warns of nothing
			}{
				{name: "whole", want: checkpoint.ResumeExact, optimizer: trained, silent: true},
				{name: "no optimizer.pt", damage: []checkpointtest.Damage{remove("optimizer.pt")}, want: checkpoint.ResumeWeightsOnly, optimizer: fresh, silent: true},
				{name: "no scheduler.pt", damage: []checkpointtest.Damage{remove("scheduler.pt")}, want: checkpoint.ResumeWeightsOnly, optimizer: fresh, silent: true},
				{name: "no rng_state.pth", damage: []checkpointtest.Damage{remove("rng_state.pth")}, want: checkpoint.ResumeWeightsOnly, optimizer: trained, silent: true},
				{name: "no training_args.bin", damage: []checkpointtest.Damage{remove("training_args.bin")}, want: checkpoint.ResumeExact, optimizer: trained, silent: true},
				{name: "sentinel", damage: []checkpointtest.Damage{sentinel}, want: checkpoint.ResumeNo, problem: diag.SaveIncomplete, optimizer: trained, silent: true},
				{name: "tensor missing", damage: []checkpointtest.Damage{checkpointtest.Drop(file, func(name string) bool { return name == tensors[kind] })},
					want: checkpoint.ResumeNo, problem: missing, optimizer: trained, silent: kind == "lora"},
				{name: "NaN", damage: []checkpointtest.Damage{checkpointtest.Fill(file, tensors[kind], 0xff)},
					want: checkpoint.ResumeExact, problem: diag.ValueNaN, optimizer: trained, silent: true},
				{name: "no trainer_state.json", damage: []checkpointtest.Damage{remove("trainer_state.json")}, want: checkpoint.ResumeWeightsOnly, problem: diag.TrainerStateMissing, raised: "FileNotFoundError"},
				{name: "trainer_state.json cut", damage: []checkpointtest.Damage{truncate("trainer_state.json", 0.5)}, want: checkpoint.ResumeWeightsOnly, problem: diag.TrainerStateInvalid, raised: "JSONDecodeError"},
				{name: "no weights", damage: []checkpointtest.Damage{remove(file)}, want: checkpoint.ResumeNo, problem: diag.WeightsMissing, raised: "ValueError: Can't find a valid checkpoint"},
				{name: "weights cut", damage: []checkpointtest.Damage{truncate(file, 0.9)}, want: checkpoint.ResumeNo, problem: diag.FileTruncated, raised: "incomplete metadata, file not fully covered"},
				{name: "optimizer.pt cut", damage: []checkpointtest.Damage{truncate("optimizer.pt", 0.5)}, want: checkpoint.ResumeWeightsOnly, problem: diag.NotTorchArchive, raised: "Error"},
				{name: "scheduler.pt empty", damage: []checkpointtest.Damage{truncate("scheduler.pt", 0)}, want: checkpoint.ResumeWeightsOnly, problem: diag.NotTorchArchive, raised: "Error"},
			}
			args := []string{"--max_steps", "6", "--save_steps", "4"}
			if kind == "lora" {
				args = append(args, "--lora")
			}
			args = append(args, "--resume")
			for _, tt := range cases {
				step := filepath.Join(t.TempDir(), "checkpoint-4")
				require.NoError(t, os.Rename(checkpointtest.Damaged(t, filepath.Join(dir, "checkpoint-4"), tt.damage...), step))
				args = append(args, step)
			}
			verdicts := make([]*checkpoint.Result, len(cases)) // before the Trainer writes there
			for i := range cases {
				all, err := checkpoint.ValidateAll(t.Context(), args[len(args)-len(cases)+i], &checkpoint.ValidateOptions{Values: true})
				require.NoError(t, err)
				verdicts[i] = all[0]
			}
			all := hear(t, "train.py", args...)
			require.Len(t, all, len(cases))
			for i, tt := range cases {
				t.Run(tt.name, func(t *testing.T) {
					r, said := verdicts[i], all[i]
					require.Equal(t, tt.want, r.Resumable, r.Report.Summary())
					if tt.problem == "" {
						require.True(t, r.Valid(), r.Report.Summary())
					} else {
						require.True(t, r.Report.Has(tt.problem), r.Report.Summary())
					}
					if tt.optimizer == 0 {
						require.NotNil(t, said.Raised, "the Trainer went on")
						require.Contains(t, *said.Raised, tt.raised)
						return
					}
					require.Nil(t, said.Raised)
					require.Equal(t, tt.optimizer, *said.Optimizer)
					require.Equal(t, tt.silent, len(said.Warnings) == 0, said.Warnings)
				})
			}
		})
	}
}
