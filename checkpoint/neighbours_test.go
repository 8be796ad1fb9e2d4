package checkpoint_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/checkpoint/checkpointtest"
	"github.com/safeckpt/safeckpt/diag"
)

// TestHarmlessNeighbours puts files beside a good checkpoint that have no part in
// it: none makes it invalid, and none changes what it is.
func TestHarmlessNeighbours(t *testing.T) {
	const full, lora = real + "/qwen2-tiny", real + "/qwen2_5_vl-tiny-lora"
	for name, tt := range map[string]struct {
		dir    string
		damage checkpointtest.Damage
	}{
		"macOS resource fork":             {full, checkpointtest.Replace("._model.safetensors", "\x00\x05\x16\x07")},
		"macOS fork of a config":          {full, checkpointtest.Replace("._config.json", "\x00\x05\x16\x07")},
		"macOS fork of an adapter":        {lora, checkpointtest.Replace("._adapter_model.safetensors", "\x00\x05\x16\x07")},
		"editor lock":                     {full, link("someone@host.1234", ".#config.json")},
		"dangling link to notes":          {full, link("gone.txt", "notes.txt")},
		"log":                             {full, checkpointtest.Replace("training.log", "step 1 loss nan")},
		"value head beside an adapter":    {lora, copyFrom(full+"/model.safetensors", "value_head.safetensors")},
		"README":                          {lora, checkpointtest.Replace("README.md", "# model")},
		"tensorboard":                     {full, checkpointtest.Replace("events.out.tfevents.1", "x")},
		"optimizer as safetensors beside": {full, copyFrom(lora+"/adapter_model.safetensors", "optimizer.safetensors")},
	} {
		t.Run(name, func(t *testing.T) {
			before := validate(t, tt.dir, nil)
			r := validate(t, checkpointtest.Damaged(t, tt.dir, tt.damage), nil)
			require.True(t, r.Valid(), "%v", r.Report.Problems())
			require.True(t, r.Expected)
			require.Equal(t, before.Kind, r.Kind)
			require.Equal(t, before.Tensors, r.Tensors)
		})
	}
}

// TestUnfinishedSave takes away what the Trainer writes last.
func TestUnfinishedSave(t *testing.T) {
	run := t.TempDir()
	for _, n := range []string{"9", "20", "100"} {
		require.NoError(t, os.CopyFS(filepath.Join(run, "checkpoint-"+n), os.DirFS("../examples/safeckpt/sample/full/checkpoint-20")))
	}
	latest := filepath.Join(run, "checkpoint-100")
	require.NoError(t, os.Remove(filepath.Join(latest, "trainer_state.json")))
	r := validate(t, latest, nil)
	require.True(t, r.Valid())
	require.True(t, r.Unfinished())
	require.False(t, *r.Complete)
	require.Equal(t, "Weights valid, but the save is INCOMPLETE. (1 warning, 1 note)", r.Verdict())
	require.Equal(t, "resume from checkpoint-20, which has it", r.Report.Problems()[0].Fix)

	require.NoError(t, os.Remove(filepath.Join(latest, "config.json")))
	require.Contains(t, validate(t, latest, nil).Verdict(), "NOT held against a config, and the save is INCOMPLETE.")

	// What trainer.save_model writes is no save that was killed.
	final := filepath.Join(run, "final")
	require.NoError(t, os.CopyFS(final, os.DirFS(filepath.Join(run, "checkpoint-20"))))
	for _, name := range []string{"trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth"} {
		require.NoError(t, os.Remove(filepath.Join(final, name)))
	}
	r = validate(t, final, nil)
	require.True(t, *r.Complete)
	require.Equal(t, "Checkpoint valid! (1 note)", r.Verdict())
	require.Contains(t, r.Report.Problems()[0].Cause, "final model")
}

func link(to, name string) checkpointtest.Damage {
	return func(dir string) error { return os.Symlink(to, filepath.Join(dir, name)) }
}

func copyFrom(from, to string) checkpointtest.Damage {
	return func(dir string) error {
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, to), data, 0o644)
	}
}

func TestDanglingLinkToWeights(t *testing.T) {
	dir := checkpointtest.Damaged(t, real+"/qwen2-tiny", checkpointtest.Remove("model.safetensors"), link("../blobs/abc", "model.safetensors"))
	r := validate(t, dir, nil)
	require.False(t, r.Valid())
	require.Equal(t, 1, r.Report.Count(diag.Error), "told once: %v", r.Report.Problems())
}

func TestUnreadableRunIsNotPassedOver(t *testing.T) {
	if os.Getuid() == 0 || runtime.GOOS == "windows" {
		t.Skip("every directory can be read here")
	}
	root := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(root, "good"), os.DirFS(real+"/qwen2-tiny")))
	require.NoError(t, os.Mkdir(filepath.Join(root, "shut"), 0))
	require.Error(t, checkpoint.Check(t.Context(), root, nil))
}

func TestLeftOutProblemsAreCounted(t *testing.T) {
	dir := checkpointtest.Damaged(t, real+"/qwen2-tiny", checkpointtest.Edit("config.json", `"num_hidden_layers": 2`, `"num_hidden_layers": 200`))
	r := validate(t, dir, nil)
	require.Equal(t, 198*12, r.Report.Count(diag.Error))
	require.Equal(t, 198*12-diag.DefaultLimit, r.Report.Omitted()[diag.TensorMissing])
}

func TestAmbiguousModel(t *testing.T) {
	dir := checkpointtest.Damaged(t, real+"/qwen2-tiny", copyFile("model.safetensors", "a.safetensors"), copyFile("model.safetensors", "b.safetensors"), checkpointtest.Remove("model.safetensors"))
	r := validate(t, dir, nil)
	p := firstOf(r, diag.ModelAmbiguous)
	require.NotNil(t, p, "%v", r.Report.Problems())
	require.True(t, strings.Contains(p.Message, "a.safetensors, b.safetensors"))
	require.False(t, r.Valid())
}

func TestBadStepDoesNotHideTheLoss(t *testing.T) {
	s, err := checkpoint.ParseTrainerState([]byte(`{"global_step": 4, "max_steps": NaN, "log_history": [{"step": 1e300, "loss": NaN}]}`))
	require.NoError(t, err)
	require.GreaterOrEqual(t, s.FirstBadLoss, 0)
	require.Equal(t, 0, s.MaxSteps)
}

// TestFolderWithAnAdapterIsAFolder: a folder of runs is not taken for the adapter
// that one of its sub-directories holds.
func TestFolderWithAnAdapterIsAFolder(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(root, "lora"), os.DirFS(real+"/qwen2_5_vl-tiny-lora")))
	require.NoError(t, os.CopyFS(filepath.Join(root, "full"), os.DirFS(real+"/qwen2-tiny")))
	require.NoError(t, checkpointtest.Truncate("model.safetensors", 0.5)(filepath.Join(root, "full")))
	results, err := checkpoint.ValidateAll(t.Context(), root, nil)
	require.NoError(t, err)
	require.Len(t, results, 2)
	require.ErrorIs(t, checkpoint.Check(t.Context(), root, nil), diag.FileTruncated)

	named := t.TempDir()
	for _, name := range []string{"policy", "ref"} {
		require.NoError(t, os.CopyFS(filepath.Join(named, name), os.DirFS(real+"/qwen2_5_vl-tiny-lora")))
	}
	r := validate(t, named, nil)
	require.Equal(t, checkpoint.KindAdapter, r.Kind)
	require.True(t, r.Valid() && r.Expected)
	require.Equal(t, 18, r.Tensors)
}
