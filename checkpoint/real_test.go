package checkpoint_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/diag"
)

const real = "../testdata/checkpoints"

// validate checks one directory and not those inside it.
func validate(t *testing.T, dir string, o *checkpoint.ValidateOptions) *checkpoint.Result {
	t.Helper()
	c, err := checkpoint.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	r, err := c.Validate(t.Context(), o)
	require.NoError(t, err)
	return r
}

// byCode returns the tensors of all problems of a code, sorted.
func byCode(r *checkpoint.Result, code diag.Code) []string {
	names := []string{}
	for _, p := range r.Report.Problems() {
		if p.Code == code {
			names = append(names, p.Tensor)
		}
	}
	slices.Sort(names)
	return names
}

// report is what from_pretrained of transformers 5.23 said of a checkpoint.
type report struct {
	Info struct {
		Missing    []string `json:"missing_keys"`
		Unexpected []string `json:"unexpected_keys"`
		Mismatched [][3]any `json:"mismatched_keys"`
	} `json:"transformers_loading_info"`
}

// TestRealCheckpoints holds every checkpoint that transformers and the Trainer
// wrote against what is known of it: whole ones are valid, damaged ones have
// exactly the problems that from_pretrained reported.
func TestRealCheckpoints(t *testing.T) {
	dirs, err := os.ReadDir(real)
	require.NoError(t, err)
	seen := 0
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		seen++
		t.Run(d.Name(), func(t *testing.T) {
			dir := filepath.Join(real, d.Name())
			found, err := checkpoint.Find(dir)
			require.NoError(t, err)
			for _, path := range found {
				r := validate(t, path, nil)
				require.NotEqual(t, checkpoint.KindUnknown, r.Kind, path)
				checkReport(t, path, r)
			}
		})
	}
	require.GreaterOrEqual(t, seen, 30)
}

func checkReport(t *testing.T, dir string, r *checkpoint.Result) {
	var want report
	if text, err := os.ReadFile(filepath.Join(dir, "expected_report.json")); err == nil {
		require.NoError(t, json.Unmarshal(text, &want))
	}
	mismatched := []string{}
	for _, m := range want.Info.Mismatched {
		mismatched = append(mismatched, m[0].(string))
	}
	slices.Sort(mismatched)
	if !r.Expected {
		require.True(t, r.Valid(), "%v", r.Report.Problems())
		require.True(t, r.Kind == checkpoint.KindRun || r.Report.Has(diag.NotHeld))
		return
	}
	require.ElementsMatch(t, want.Info.Missing, byCode(r, diag.TensorMissing))
	require.ElementsMatch(t, want.Info.Unexpected, byCode(r, diag.TensorUnexpected))
	require.Equal(t, mismatched, byCode(r, diag.TensorShape))
	whole := len(want.Info.Missing)+len(want.Info.Unexpected)+len(mismatched) == 0
	require.Equal(t, whole, r.Valid(), "%v", r.Report.Problems())
}

func TestKindStateAndResumption(t *testing.T) {
	type facts struct {
		Kind      checkpoint.Kind
		State     checkpoint.State
		Resumable checkpoint.Resumable
		Complete  string
		Step      int
		Expected  bool
		Layout    string
	}
	full, adapter, run := checkpoint.KindFull, checkpoint.KindAdapter, checkpoint.KindRun
	none, trainer := checkpoint.StateNone, checkpoint.StateTrainer
	exact, weightsOnly := checkpoint.ResumeExact, checkpoint.ResumeWeightsOnly
	for dir, want := range map[string]facts{
		"qwen2_5_vl-tiny":                         {full, none, weightsOnly, "true", -1, true, "save"},
		"qwen2_5_vl-tiny-native-names":            {full, none, weightsOnly, "true", -1, true, "native"},
		"qwen2_5_vl-tiny-tied":                    {full, none, weightsOnly, "true", -1, true, "save"},
		"llama-tiny-sharded":                      {full, none, weightsOnly, "true", -1, true, "save"},
		"llama-tiny-tied-sharded":                 {full, none, weightsOnly, "true", -1, true, "save"},
		"qwen2-tiny-variant-fp16":                 {full, none, weightsOnly, "true", -1, true, "save"},
		"qwen2-tiny-base-names":                   {full, none, weightsOnly, "true", -1, true, "save"},
		"qwen2_5_vl-tiny-lora":                    {adapter, none, weightsOnly, "true", -1, true, ""},
		"trainer-full-all":                        {run, none, "", "", -1, false, ""},
		"trainer-full-all/checkpoint-10":          {full, trainer, exact, "true", 10, true, "save"},
		"trainer-full-only-model":                 {full, trainer, weightsOnly, "true", 40, true, "save"},
		"trainer-full-only-model/checkpoint-30":   {full, trainer, weightsOnly, "true", 30, true, "save"},
		"trainer-lora-all-state/checkpoint-20":    {adapter, trainer, exact, "true", 20, true, ""},
		"trainer-lora-only-model/checkpoint-40":   {adapter, trainer, weightsOnly, "true", 40, true, ""},
		"trainer-lora-best-limit1-peak2":          {adapter, trainer, weightsOnly, "true", 40, true, ""},
		"trainer-full-epoch-limit2/checkpoint-60": {full, trainer, exact, "true", 60, true, "save"},
		"trainer-full-best-limit2-peak2":          {full, trainer, weightsOnly, "true", 40, true, "save"},
		"trainer-lora-all-state/checkpoint-10/":   {adapter, trainer, exact, "true", 10, true, ""},
		"qwen2-tiny-missing":                      {full, none, checkpoint.ResumeNo, "false", -1, true, "save"},
		"../../checkpoint/testdata/zero/z2":       {checkpoint.KindZeRO, checkpoint.StateZeRO2, weightsOnly, "true", -1, false, ""},
	} {
		t.Run(dir, func(t *testing.T) {
			r := validate(t, filepath.Join(real, dir), nil)
			complete := ""
			if r.Complete != nil {
				complete = map[bool]string{true: "true", false: "false"}[*r.Complete]
			}
			require.Equal(t, want, facts{r.Kind, r.State, r.Resumable, complete, r.Step, r.Expected, r.Layout})
		})
	}
}
