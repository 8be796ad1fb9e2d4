package checkpoint_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/checkpoint/checkpointtest"
	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// TestCommonDamage makes the damage that people report most often and checks
// that it is told with its code, in words that help.
func TestCommonDamage(t *testing.T) {
	const (
		vl      = real + "/qwen2_5_vl-tiny"
		tied    = real + "/qwen2_5_vl-tiny-tied"
		lora    = real + "/qwen2_5_vl-tiny-lora"
		sharded = real + "/llama-tiny-sharded"
		weights = "model.safetensors"
	)
	for name, tt := range map[string]struct {
		dir      string
		damage   []checkpointtest.Damage
		options  checkpoint.ValidateOptions
		code     diag.Code
		severity diag.Severity
		message  string // parts of what must be said, separated by |
		cause    string
		fix      string
		invalid  bool // though it is no error: others follow from it
	}{
		"Git LFS pointer": {
			dir: vl, damage: []checkpointtest.Damage{checkpointtest.LFSPointer(weights)},
			code: diag.FileLFSPointer, severity: diag.Error, message: "Git LFS pointer|sha256|77.12 kB", cause: "clone", fix: "git lfs pull",
		},
		"web page": {
			dir: vl, damage: []checkpointtest.Damage{checkpointtest.Replace(weights, "<!DOCTYPE html><html><head><title>Sign in</title></head></html>")},
			code: diag.FileHTML, severity: diag.Error, message: "web page", cause: "download", fix: "download",
		},
		"LFS pointer as a shard": {
			dir: sharded, damage: []checkpointtest.Damage{checkpointtest.LFSPointer("model-00002-of-00006.safetensors")},
			code: diag.FileLFSPointer, severity: diag.Error, message: "Git LFS pointer", cause: "clone", fix: "git lfs pull",
		},
		"truncated": {
			dir: vl, damage: []checkpointtest.Damage{checkpointtest.Truncate(weights, 0.75)},
			code: diag.FileTruncated, severity: diag.Error, message: "57.84|of 77.12 kB|75.0 %|tensors incomplete|first", cause: "interrupted", fix: "again",
		},
		"directory for weights": {
			dir: vl, damage: []checkpointtest.Damage{directoryFor(weights)},
			code: diag.FileNotRegular, severity: diag.Error, message: "is a directory, not a file", cause: "container", fix: "ls -l",
		},
		"directory for an adapter": {
			dir: lora, damage: []checkpointtest.Damage{directoryFor("adapter_model.safetensors")},
			code: diag.FileNotRegular, severity: diag.Error, message: "is a directory, not a file", cause: "container", fix: "ls -l",
		},
		"directory for a shard": {
			dir: sharded, damage: []checkpointtest.Damage{directoryFor("model-00003-of-00006.safetensors")},
			code: diag.FileNotRegular, severity: diag.Error, message: "is a directory, not a file", cause: "container", fix: "ls -l",
		},
		"directory for config.json": {
			dir: vl, damage: []checkpointtest.Damage{directoryFor("config.json")},
			code: diag.FileNotRegular, severity: diag.Error, message: "is a directory, not a file", cause: "container", fix: "ls -l",
		},
		"missing shard": {
			dir: sharded, damage: []checkpointtest.Damage{checkpointtest.Remove("model-00003-of-00006.safetensors")},
			code: diag.ShardMissing, severity: diag.Error, message: "model-00003-of-00006.safetensors|missing|tensors", cause: "download", fix: "from where the others came from",
		},
		"stray shard": {
			dir: sharded, damage: []checkpointtest.Damage{copyFile("model-00001-of-00006.safetensors", "model-00001-of-00002.safetensors")},
			code: diag.ShardStray, severity: diag.Warning, message: "model-00001-of-00002.safetensors|index", cause: "", fix: "",
		},
		"single file beside an index": {
			dir: sharded, damage: []checkpointtest.Damage{copyFile("model-00001-of-00006.safetensors", "model.safetensors")},
			code: diag.IndexBesideSingle, severity: diag.Warning, message: "model.safetensors.index.json|model.safetensors", cause: "twice", fix: "delete", invalid: true,
		},
		"vocabulary grown": {
			dir: vl, damage: []checkpointtest.Damage{
				checkpointtest.Edit("config.json", `"vocab_size": 120`, `"vocab_size": 128`),
			},
			code: diag.TensorShape, severity: diag.Error, message: "[120,32]|[128,32]", cause: "vocabulary", fix: "",
		},
		"vocabulary grown with its tokenizer": {
			dir: vl, damage: []checkpointtest.Damage{
				resizeVocabulary(128), checkpointtest.Edit("config.json", `"vocab_size": 128`, `"vocab_size": 120`),
				checkpointtest.Replace("tokenizer.json", `{"model": {"type": "BPE", "vocab": {"a": 0, "b": 126}}, "added_tokens": [{"id": 127, "content": "<new>"}]}`),
			},
			code: diag.TensorShape, severity: diag.Error, message: "[128,32]|[120,32]", cause: "the tokenizer has 128 entries too", fix: "set vocab_size to 128",
		},
		"adapter of a base with another vocabulary": {
			dir: lora, options: checkpoint.ValidateOptions{Base: "SIZED"},
			code: diag.AdapterVocabulary, severity: diag.Error, message: "lm_head|120|128", cause: "resize_token_embeddings", fix: "",
		},
		"tied twice, different": {
			dir: tied, damage: []checkpointtest.Damage{addCopy(weights, "model.embed_tokens.weight", "lm_head.weight", 1)}, options: checkpoint.ValidateOptions{Values: true},
			code: diag.TiedDiffer, severity: diag.Error, message: "lm_head.weight|model.embed_tokens.weight|differ", cause: "tie", fix: "tie_word_embeddings",
		},
		"tied twice, equal": {
			dir: tied, damage: []checkpointtest.Damage{addCopy(weights, "model.embed_tokens.weight", "lm_head.weight", 0)}, options: checkpoint.ValidateOptions{Values: true},
			code: diag.TiedEqual, severity: diag.Note, message: "lm_head.weight|equal|7.68 kB", cause: "", fix: "",
		},
		"tensors that would be random": {
			dir: vl, damage: []checkpointtest.Damage{checkpointtest.Drop(weights, func(name string) bool { return strings.HasPrefix(name, "visual.blocks.") })},
			code: diag.TensorMissing, severity: diag.Error, message: "visual.blocks.0.", cause: "", fix: "",
		},
		"integer weights": {
			dir: vl, damage: []checkpointtest.Damage{checkpointtest.Rewrite(weights, func(tensors []checkpointtest.Tensor) []checkpointtest.Tensor {
				for i := range tensors {
					if tensors[i].Name == "model.norm.weight" {
						tensors[i].DType = safetensors.I16
					}
				}
				return tensors
			})},
			code: diag.TensorInteger, severity: diag.Error, message: "model.norm.weight|I16", cause: "quantized", fix: "config.json",
		},
		"NaN": {
			dir: vl, damage: []checkpointtest.Damage{checkpointtest.Fill(weights, "model.norm.weight", 0xFF)}, options: checkpoint.ValidateOptions{Values: true},
			code: diag.ValueNaN, severity: diag.Error, message: "model.norm.weight|32 of 32", cause: "diverged", fix: "earlier checkpoint",
		},
		"adapter that does nothing": {
			dir: lora, damage: []checkpointtest.Damage{zeroLoraB}, options: checkpoint.ValidateOptions{Values: true},
			code: diag.AdapterZero, severity: diag.Warning, message: "4 of 4 lora_B are all zero", cause: "starts at zero", fix: "training log",
		},
		"adapter without its config": {
			dir: lora, damage: []checkpointtest.Damage{checkpointtest.Remove("adapter_config.json")},
			code: diag.AdapterConfigMissing, severity: diag.Error, message: "adapter_config.json", cause: "copied", fix: "adapter_config.json",
		},
		"weights not copied": {
			dir: vl, damage: []checkpointtest.Damage{checkpointtest.Remove(weights)},
			code: diag.WeightsMissing, severity: diag.Error, message: "no model.safetensors", cause: "copied", fix: "git lfs pull",
		},
		"config cut": {
			dir: vl, damage: []checkpointtest.Damage{checkpointtest.Truncate("config.json", 0.5)},
			code: diag.ConfigInvalid, severity: diag.Error, message: "config.json|line ", cause: "cut", fix: "config.json",
		},
		"leftover of a killed save": {
			dir: vl, damage: []checkpointtest.Damage{checkpointtest.Replace(".tmpAb3xYz", "weights")},
			code: diag.Leftover, severity: diag.Warning, message: ".tmpAb3xYz|7 bytes", cause: "killed", fix: "delete",
		},
		"SIGTERM save not finished": {
			dir: real + "/trainer-full-all/checkpoint-20", damage: []checkpointtest.Damage{checkpointtest.Replace("checkpoint-is-incomplete.txt", "")},
			code: diag.SaveIncomplete, severity: diag.Error, message: "not finished", cause: "SIGTERM", fix: "earlier checkpoint",
		},
		"a byte of the optimizer flipped": {
			dir: real + "/trainer-full-all/checkpoint-20", damage: []checkpointtest.Damage{flip("optimizer.pt", 20_000)}, options: checkpoint.ValidateOptions{Values: true},
			code: diag.TorchChecksum, severity: diag.Error, message: "data/", cause: "torch.load would accept", fix: "another checkpoint",
		},
		"trainer state cut": {
			dir: real + "/trainer-full-all/checkpoint-20", damage: []checkpointtest.Damage{checkpointtest.Truncate("trainer_state.json", 0.5)},
			code: diag.TrainerStateInvalid, severity: diag.Error, message: "trainer_state.json", cause: "killed", fix: "earlier checkpoint",
		},
		"optimizer cut": {
			dir: real + "/trainer-full-all/checkpoint-20", damage: []checkpointtest.Damage{checkpointtest.Truncate("optimizer.pt", 0.9)},
			code: diag.NotTorchArchive, severity: diag.Error, message: "missing", cause: "killed", fix: "earlier checkpoint",
		},
		"scheduler gone": {
			dir: real + "/trainer-full-all/checkpoint-20", damage: []checkpointtest.Damage{checkpointtest.Remove("scheduler.pt")},
			code: diag.ResumeInexact, severity: diag.Note, message: "scheduler.pt|throws optimizer.pt away", cause: "", fix: "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := tt.options
			if o.Base == "SIZED" {
				o.Base = checkpointtest.Damaged(t, vl, resizeVocabulary(128))
			}
			r := validate(t, checkpointtest.Damaged(t, tt.dir, tt.damage...), &o)
			p := firstOf(r, tt.code)
			require.NotNil(t, p, "want %v, found %v", tt.code, r.Report.Problems())
			require.Equal(t, tt.severity, p.Severity)
			for _, part := range strings.Split(tt.message, "|") {
				require.Contains(t, p.Message, part)
			}
			require.Contains(t, strings.ToLower(p.Cause), strings.ToLower(tt.cause))
			require.Contains(t, p.Fix, tt.fix)
			require.Equal(t, tt.severity != diag.Error && !tt.invalid, r.Valid())
		})
	}
}

func zeroLoraB(dir string) error {
	return checkpointtest.Rewrite("adapter_model.safetensors", func(tensors []checkpointtest.Tensor) []checkpointtest.Tensor {
		for _, t := range tensors {
			if strings.Contains(t.Name, "lora_B") {
				clear(t.Data)
			}
		}
		return tensors
	})(dir)
}

// flip inverts the byte at an offset.
func flip(file string, offset int) checkpointtest.Damage {
	return func(dir string) error {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		data[offset] ^= 0xFF
		return os.WriteFile(filepath.Join(dir, file), data, 0o644)
	}
}

func firstOf(r *checkpoint.Result, code diag.Code) *diag.Problem {
	for _, p := range r.Report.Problems() {
		if p.Code == code {
			return &p
		}
	}
	return nil
}

// directoryFor puts a directory where a file was.
func directoryFor(file string) checkpointtest.Damage {
	return func(dir string) error {
		name := filepath.Join(dir, file)
		if err := os.Remove(name); err != nil {
			return err
		}
		return os.Mkdir(name, 0o777)
	}
}

func copyFile(from, to string) checkpointtest.Damage {
	return func(dir string) error {
		data, err := os.ReadFile(filepath.Join(dir, from))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, to), data, 0o644)
	}
}

// addCopy stores a tensor a second time, with its first byte changed by flip.
func addCopy(file, tensor, as string, flip byte) checkpointtest.Damage {
	return checkpointtest.Rewrite(file, func(tensors []checkpointtest.Tensor) []checkpointtest.Tensor {
		for _, t := range tensors {
			if t.Name == tensor {
				t.Name = as
				t.Data = append([]byte(nil), t.Data...)
				t.Data[0] ^= flip
				tensors = append(tensors, t)
			}
		}
		return tensors
	})
}

// resizeVocabulary gives a model other rows, as resize_token_embeddings does.
func resizeVocabulary(rows int) checkpointtest.Damage {
	return func(dir string) error {
		err := checkpointtest.Rewrite("model.safetensors", func(tensors []checkpointtest.Tensor) []checkpointtest.Tensor {
			for i, t := range tensors {
				if t.Name == "lm_head.weight" || t.Name == "model.embed_tokens.weight" {
					row := len(t.Data) / int(t.Shape[0])
					tensors[i].Data = append(t.Data, make([]byte, row*rows-len(t.Data))...)
					tensors[i].Shape[0] = uint64(rows)
				}
			}
			return tensors
		})(dir)
		if err != nil {
			return err
		}
		return checkpointtest.Edit("config.json", `"vocab_size": 120`, `"vocab_size": 128`)(dir)
	}
}

func TestTiedWeightLeftOutIsFine(t *testing.T) {
	r := validate(t, real+"/qwen2_5_vl-tiny-tied", nil)
	require.True(t, r.Valid())
	require.True(t, r.Expected)
	require.Empty(t, byCode(r, diag.TensorMissing))
}

func TestTensorsOfAMissingShardAreToldOnce(t *testing.T) {
	for _, shard := range []string{"model-00001-of-00004.safetensors", "model-00003-of-00004.safetensors"} {
		r := validate(t, checkpointtest.Damaged(t, real+"/llama-tiny-tied-sharded", checkpointtest.Remove(shard)), nil)
		require.True(t, r.Report.Has(diag.ShardMissing))
		require.True(t, r.Expected)
		require.Empty(t, byCode(r, diag.TensorMissing))
	}
}
