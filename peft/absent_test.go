package peft_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/peft"
)

func TestAbsent(t *testing.T) {
	const config, weights, pickled = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
	for name, tt := range map[string]struct {
		files   []string
		code    diag.Code // "" if nothing is absent
		message string
		fix     string
	}{
		"adapter":         {[]string{config, weights}, "", "", ""},
		"no config":       {[]string{weights}, diag.AdapterConfigMissing, "adapter_model.safetensors is here without", "copy adapter_config.json"},
		"pickle alone":    {[]string{pickled}, diag.AdapterConfigMissing, "adapter_model.bin is here without", "copy adapter_config.json"},
		"no weights":      {[]string{config}, diag.WeightsMissing, "but no adapter_model.safetensors", "copy or download"},
		"pickled":         {[]string{config, pickled}, diag.FormatNotChecked, "is a pickle", "weights_only=True"},
		"full model":      {[]string{"config.json", "model.safetensors"}, diag.AdapterAbsent, "this is a full model", "give the directory that holds adapter_config.json"},
		"shards":          {[]string{"model-00001-of-00002.safetensors"}, diag.AdapterAbsent, "this is a full model", "give the directory"},
		"sub-directory":   {[]string{"adapter/" + config, "logs/x"}, diag.AdapterAbsent, "it is in a sub-directory", "give that directory: adapter"},
		"run":             {[]string{"checkpoint-90/" + config, "checkpoint-100/" + config}, diag.AdapterAbsent, "it is in a sub-directory", "the newest is checkpoint-100"},
		"something other": {[]string{"notes.txt"}, diag.AdapterAbsent, "neither adapter_config.json nor", "give the directory"},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := fstest.MapFS{}
			for _, f := range tt.files {
				fsys[f] = &fstest.MapFile{Data: []byte("{}")}
			}
			p, ok := peft.Absent(fsys)
			require.Equal(t, tt.code != "", ok)
			if !ok {
				return
			}
			require.Equal(t, tt.code, p.Code)
			require.Equal(t, diag.Error, p.Severity)
			require.Contains(t, p.Message, tt.message)
			require.Contains(t, p.Fix, tt.fix)
			require.NotEmpty(t, p.Cause)
		})
	}
}

// TestNotABase gives Merge and OpenBase directories that hold no model.
func TestNotABase(t *testing.T) {
	adapter := filepath.Join("testdata", "fixtures", "llama_regex")
	for name, tt := range map[string]struct {
		files        []string
		message, fix string
	}{
		"empty":         {nil, "the base is no model", "give the directory of the whole model"},
		"an adapter":    {[]string{"adapter_config.json", "adapter_model.safetensors"}, "the base is an adapter", "tiny/base as its own base"},
		"pickled":       {[]string{"pytorch_model.bin"}, "pickled weights only", "save_pretrained"},
		"shards":        {[]string{"global_step5/x", "latest"}, "training shards", "safeckpt merge-zero"},
		"sub-directory": {[]string{"base/config.json"}, "in a sub-directory", "give that directory: base"},
		"run":           {[]string{"checkpoint-5/config.json"}, "in a sub-directory", "the newest is checkpoint-5"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range tt.files {
				require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o777))
				require.NoError(t, os.WriteFile(filepath.Join(dir, f), []byte(`{"peft_type":"LORA","r":4,"base_model_name_or_path":"tiny/base","target_modules":["q_proj"]}`), 0o666))
			}
			_, merged := peft.Merge(context.Background(), dir, adapter, filepath.Join(t.TempDir(), "out"), nil)
			_, opened := peft.OpenBase(os.DirFS(dir), nil)
			for _, err := range []error{merged, opened} {
				require.ErrorIs(t, err, diag.BaseAbsent)
				var refused *peft.RefusedError
				require.ErrorAs(t, err, &refused)
				p := refused.Report.Problems()[0]
				require.Contains(t, p.Message, tt.message)
				require.Contains(t, p.Fix, tt.fix)
			}
		})
	}
}
