package peft

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/safetensors"
)

// saveAdapters builds one tiny model for each job, puts a LoRA of the job's
// config on it and saves both; it prints what PEFT says of each.
const saveAdapters = `
import json, os, sys, warnings
warnings.filterwarnings("ignore")
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers import LlamaConfig, Qwen2Config
from peft import LoraConfig, get_peft_model
root = sys.argv[1]
common = dict(vocab_size=64, hidden_size=16, intermediate_size=24, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=3)
made = {"llama": LlamaConfig, "qwen2": Qwen2Config}
answers = []
for i, job in enumerate(json.load(sys.stdin)):
    out = os.path.join(root, str(i))
    model = AutoModelForCausalLM.from_config(made[job["model"]](tie_word_embeddings=job["tied"], **common))
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(os.path.join(out, "base"))
    try:
        peft = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **job["config"]))
        peft.save_pretrained(os.path.join(out, "adapter"))
        scaling = {n.removeprefix("base_model.model."): m.scaling["default"] for n, m in peft.named_modules() if hasattr(m, "lora_A")}
        answers.append({"error": "", "scaling": scaling})
    except Exception as e:
        answers.append({"error": type(e).__name__ + ": " + str(e), "scaling": {}})
print("\n" + json.dumps(answers))
`

type job struct {
	Model  string         `json:"model"`
	Tied   bool           `json:"tied"`
	Config map[string]any `json:"config"`
}

// randomJob makes a config that uses some of everything.
func randomJob(r *rand.Rand) job {
	pick := func(n int, from ...string) []string {
		r.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
		return from[:1+r.IntN(n)]
	}
	some := func(p float64) bool { return r.Float64() < p }
	j := job{Model: pick(1, "llama", "qwen2")[0], Tied: some(0.3), Config: map[string]any{"r": 1 + r.IntN(8), "lora_alpha": 1 + r.IntN(32)}}
	c := j.Config
	linear := []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
	switch r.IntN(5) {
	case 0:
		c["target_modules"] = "all-linear"
	case 1:
		c["target_modules"] = pick(1, `.*\.(q|v)_proj`, `(?!.*layers\.1).*mlp\.\w+_proj`, `model\.layers\.[02]\..*(?<!o)_proj`, `.*(?:embed_tokens|k_proj)$`)[0]
	default:
		c["target_modules"] = pick(5, append(linear, "embed_tokens", "lm_head", "layers.1.mlp.up_proj", "model.layers.0.self_attn.q_proj")...)
		if some(0.3) {
			c["layers_to_transform"] = []any{[]int{0, 2}, 1, []int{1}}[r.IntN(3)]
			if some(0.5) {
				c["layers_pattern"] = "layers"
			}
		}
	}
	if some(0.3) {
		c["exclude_modules"] = []any{[]string{"layers.0.self_attn.q_proj", "down_proj"}, `.*\.2\..*`}[r.IntN(2)]
	}
	if some(0.3) {
		c["rank_pattern"] = map[string]int{pick(1, "q_proj", `.*mlp.*`, `layers\.1\..*`)[0]: 3, "down_proj": 5}
	}
	if some(0.3) {
		c["alpha_pattern"] = map[string]int{"v_proj": 3}
	}
	c["use_rslora"] = some(0.3)
	switch r.IntN(4) {
	case 0:
		c["use_dora"] = true
	case 1:
		c["lora_bias"] = true
	}
	if some(0.3) {
		c["bias"] = pick(1, "all", "lora_only")[0]
	}
	if some(0.3) {
		c["modules_to_save"] = pick(2, "lm_head", "embed_tokens", "norm", "input_layernorm", "k_proj")
	} else if some(0.3) {
		c["trainable_token_indices"] = []any{[]int{1, 5}, map[string][]int{"embed_tokens": {2, 3, 4}}}[r.IntN(2)]
	}
	return j
}

// TestPython holds Check against adapters that the real PEFT has just saved: all
// of them fit their base, tensor for tensor, with the same scalings.
func TestPython(t *testing.T) {
	python := os.Getenv("SAFECKPT_PYTHON")
	if python == "" {
		t.Skip("SKIPPED: set SAFECKPT_PYTHON to the path of a Python interpreter with peft and transformers to save adapters and check them")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var jobs []job
	for range 60 {
		jobs = append(jobs, randomJob(r))
	}
	in, err := json.Marshal(jobs)
	require.NoError(t, err)
	root := t.TempDir()
	cmd := exec.Command(python, "-c", saveAdapters, root)
	cmd.Stdin = strings.NewReader(string(in))
	cmd.Env = append(os.Environ(), "HF_HUB_OFFLINE=1", "TRANSFORMERS_VERBOSITY=error")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var answers []struct {
		Error   string
		Scaling map[string]float64
	}
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &answers))
	checked := 0
	for i, answer := range answers {
		text, err := json.Marshal(jobs[i])
		require.NoError(t, err)
		if answer.Error != "" {
			t.Logf("PEFT: %s: %s", answer.Error[:min(len(answer.Error), 100)], text)
			continue
		}
		checked++
		dir := filepath.Join(root, strconv.Itoa(i))
		config, err := os.ReadFile(filepath.Join(dir, "adapter", ConfigFile))
		require.NoError(t, err)
		c, err := ParseConfig(config)
		require.NoError(t, err)
		f, err := safetensors.Open(filepath.Join(dir, "adapter", WeightsFile), nil)
		require.NoError(t, err)
		a := &Adapter{c, f.Header().Tensors}
		baseText, err := os.ReadFile(filepath.Join(dir, "base", "config.json"))
		require.NoError(t, err)
		model, err := hfconfig.Parse(baseText)
		require.NoError(t, err)
		x, err := hfconfig.Builtin().Expect(model, nil)
		if errors.Is(err, hfconfig.ErrUnknownModel) {
			t.Fatalf("no schema: %v", err)
		}
		require.NoError(t, err)
		for _, base := range []*Base{NewBase(x), nil} {
			res := Check(a, base)
			if base == nil {
				require.Zero(t, res.Report.Count(diag.Error), "%s: %s", text, res.Report.Summary())
				continue
			}
			require.Zero(t, res.Report.Count(diag.Error)+res.Report.Count(diag.Warning), "%s: %s", text, res.Report.Summary())
			require.Len(t, res.Modules, len(answer.Scaling), "%s", text)
			for _, m := range res.Modules {
				require.True(t, m.Complete)
				require.Equal(t, answer.Scaling[m.Path], m.Scaling, "%s: %s", m.Path, text)
			}
		}
		require.NoError(t, f.Close())
	}
	require.Greater(t, checked, len(jobs)/2)
	t.Logf("%d adapters checked, %d refused by PEFT itself", checked, len(jobs)-checked)
}
