package peft_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/peft"
)

// TestMergeFromPretrained loads merged models with transformers, holds their
// logits against those of PEFT's own merge, and compares every weight.
func TestMergeFromPretrained(t *testing.T) {
	python := os.Getenv("SAFECKPT_PYTHON")
	if python == "" {
		t.Skip("SAFECKPT_PYTHON is not set: NOT compared with transformers and peft")
	}
	for _, c := range []struct {
		class, base, adapter string
		safe                 string
		limit                uint64
	}{
		{"Qwen2_5_VLForConditionalGeneration", "qwen25vl_bf16", "qwen25vl_small", "", 0},
		{"Qwen2_5_VLForConditionalGeneration", "qwen25vl_bf16", "qwen25vl_visual_conv3d", "safe", 30_000},
		{"LlamaForCausalLM", "llama_fp32", "llama_all_linear", "", 40_000},
		{"LlamaForCausalLM", "llama_fp16", "llama_dora_fp16", "", 0},
		{"Qwen2ForCausalLM", "qwen2_tied_bf16", "qwen2_tied_lmhead_mts", "", 0},
		{"Qwen3MoeForCausalLM", "qwen3moe_bf16", "qwen3moe_params", "safe", 0},
	} {
		t.Run(c.adapter, func(t *testing.T) {
			base, adapter := filepath.Join("testdata/bases", c.base), filepath.Join("testdata/fixtures", c.adapter)
			out := filepath.Join(t.TempDir(), "out")
			_, err := peft.Merge(t.Context(), base, adapter, out, &peft.MergeOptions{Safe: c.safe != "", MaxShardSize: c.limit})
			require.NoError(t, err)
			cmd := exec.Command(python, "-c", `
import sys, torch, transformers
from peft import PeftModel
name, base, adapter, out, safe = sys.argv[1:]
cls = getattr(transformers, name)
ids = torch.arange(2, 26).view(2, -1)
def logits(m):
    with torch.no_grad():
        return m.eval()(input_ids=ids).logits
ours, info = cls.from_pretrained(out, dtype="auto", output_loading_info=True)
assert not any(info.values()), info
theirs = PeftModel.from_pretrained(cls.from_pretrained(base, dtype="auto"), adapter).merge_and_unload(safe_merge=bool(safe))
a, b = ours.state_dict(), theirs.state_dict()
assert a.keys() == b.keys(), a.keys() ^ b.keys()
for k in a:
    assert a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]), k
la, lb = logits(ours), logits(theirs)
assert torch.equal(la, lb), (la - lb).abs().max()
before = cls.from_pretrained(base, dtype="auto").state_dict()
assert any(not torch.equal(a[k], before[k]) for k in a)
`, c.class, base, adapter, out, c.safe)
			cmd.Env = append(os.Environ(), "HF_HUB_OFFLINE=1", "CUDA_VISIBLE_DEVICES=")
			text, err := cmd.CombinedOutput()
			require.NoError(t, err, string(text))
		})
	}
}
