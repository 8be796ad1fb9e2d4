package peft

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/safetensors"
)

// saveAdapters builds one tiny model for each job, puts an adapter of the job's
// type and config on it and saves both; it prints what PEFT says of each.
const saveAdapters = `
import json, os, sys, warnings
warnings.filterwarnings("ignore")
import torch, transformers
transformers.utils.logging.disable_progress_bar()
from peft import get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
root = sys.argv[1]
text = dict(vocab_size=64, hidden_size=16, intermediate_size=24, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=3)
made = {
    "llama": ("Llama", "ForCausalLM", text),
    "qwen2": ("Qwen2", "ForCausalLM", text),
    "mixtral": ("Mixtral", "ForCausalLM", dict(text, num_local_experts=2)),
    "qwen2_moe": ("Qwen2Moe", "ForCausalLM", dict(text, num_experts=2, moe_intermediate_size=8, shared_expert_intermediate_size=12)),
    "qwen3_moe": ("Qwen3Moe", "ForCausalLM", dict(text, num_experts=2, moe_intermediate_size=8)),
    "deepseek_v3": ("DeepseekV3", "ForCausalLM", dict(text, num_key_value_heads=4, n_routed_experts=2, num_experts_per_tok=1, moe_intermediate_size=8,
        first_k_dense_replace=1, n_group=1, topk_group=1, q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=4, n_shared_experts=1)),
    "gpt2": ("GPT2", "LMHeadModel", dict(vocab_size=64, n_embd=16, n_layer=3, n_head=4, n_positions=16, bos_token_id=0, eos_token_id=0)),
    "t5": ("T5", "ForConditionalGeneration", dict(vocab_size=64, d_model=16, d_ff=32, num_layers=3, num_heads=4, d_kv=4)),
    "vit": ("ViT", "ForImageClassification", dict(hidden_size=16, intermediate_size=24, num_attention_heads=4, num_hidden_layers=3, image_size=16, patch_size=4)),
    "resnet": ("ResNet", "ForImageClassification", dict(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], layer_type="basic")),
    "bert": ("Bert", "ForSequenceClassification", dict(vocab_size=64, hidden_size=16, intermediate_size=24, num_attention_heads=4, num_hidden_layers=3, max_position_embeddings=16)),
}
tasks = {"ForCausalLM": "CAUSAL_LM", "LMHeadModel": "CAUSAL_LM", "ForConditionalGeneration": "SEQ_2_SEQ_LM", "ForSequenceClassification": "SEQ_CLS"}
answers = []
for i, job in enumerate(json.load(sys.stdin)):
    out = os.path.join(root, str(i))
    name, head, sizes = made[job["model"]]
    config = getattr(transformers, name + "Config")(**sizes, **({"tie_word_embeddings": job["tied"]} if head == "ForCausalLM" else {}))
    model = getattr(transformers, name + head)(config)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(os.path.join(out, "base"))
    model.save_pretrained(os.path.join(out, "disk"))
    try:
        peft = get_peft_model(model, PEFT_TYPE_TO_CONFIG_MAPPING[job["type"]](task_type=tasks.get(head), **job["config"]))
        peft.save_pretrained(os.path.join(out, "adapter"))
        scaling = {n.removeprefix("base_model.model."): m.scaling["default"] for n, m in peft.named_modules() if hasattr(m, "lora_A")}
        answers.append({"error": "", "scaling": scaling})
    except Exception as e:
        answers.append({"error": type(e).__name__ + ": " + str(e), "scaling": {}})
print("\n" + json.dumps(answers))
`

type job struct {
	Model  string         `json:"model"`
	Type   string         `json:"type"`
	Tied   bool           `json:"tied"`
	Config map[string]any `json:"config"`
}

func (j job) String() string {
	text, err := json.Marshal(j)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// A saved adapter is what the real PEFT made of a job.
type savedAdapter struct {
	job
	a       *Adapter
	base    *Base // by its config
	disk    *Base // by its tensors
	scaling map[string]float64
}

func pick(r *rand.Rand, n int, from ...string) []string {
	from = slices.Clone(from)
	r.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	return from[:1+r.IntN(n)]
}

// adaptersOf has PEFT save the adapters; those that it refuses to make are left
// out.
func adaptersOf(t *testing.T, jobs []job) []savedAdapter {
	t.Helper()
	python := os.Getenv("SAFECKPT_PYTHON")
	if python == "" {
		t.Skip("SKIPPED: set SAFECKPT_PYTHON to the path of a Python interpreter with peft and transformers to save adapters and check them")
	}
	in, err := json.Marshal(jobs)
	require.NoError(t, err)
	root := t.TempDir()
	cmd := exec.Command(python, "-c", saveAdapters, root)
	cmd.Stdin = strings.NewReader(string(in))
	cmd.Env = append(os.Environ(), "HF_HUB_OFFLINE=1", "TRANSFORMERS_VERBOSITY=error", "HF_HUB_DISABLE_PROGRESS_BARS=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var answers []struct {
		Error   string
		Scaling map[string]float64
	}
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &answers))
	var saved []savedAdapter
	for i, answer := range answers {
		if answer.Error != "" {
			t.Logf("PEFT: %s: %s", answer.Error[:min(len(answer.Error), 150)], jobs[i])
			continue
		}
		dir := filepath.Join(root, strconv.Itoa(i))
		s := savedAdapter{job: jobs[i], scaling: answer.Scaling}
		config, err := os.ReadFile(filepath.Join(dir, "adapter", ConfigFile))
		require.NoError(t, err)
		c, err := ParseConfig(config)
		require.NoError(t, err)
		s.a = &Adapter{c, tensorsOf(t, filepath.Join(dir, "adapter", WeightsFile))}
		text, err := os.ReadFile(filepath.Join(dir, "base", "config.json"))
		require.NoError(t, err)
		model, err := hfconfig.Parse(text)
		require.NoError(t, err)
		x, err := hfconfig.Builtin().Expect(model, nil)
		if errors.Is(err, hfconfig.ErrUnknownModel) {
			t.Logf("no schema of %s", s.Model)
		} else {
			require.NoError(t, err)
			s.base = NewBase(x)
		}
		infos := tensorsOf(t, filepath.Join(dir, "disk", "model.safetensors"))
		s.disk = BaseFromTensors(func(yield func(*safetensors.TensorInfo) bool) {
			for i := range infos {
				if !yield(&infos[i]) {
					return
				}
			}
		})
		saved = append(saved, s)
	}
	t.Logf("%d adapters saved, %d refused by PEFT itself", len(saved), len(jobs)-len(saved))
	require.Greater(t, len(saved), len(jobs)/2)
	return saved
}

func tensorsOf(t *testing.T, name string) []safetensors.TensorInfo {
	t.Helper()
	f, err := safetensors.Open(name, nil)
	require.NoError(t, err)
	infos := f.Header().Tensors
	require.NoError(t, f.Close())
	return infos
}

// seeded draws the same in every run, unless SAFECKPT_SEED says another seed.
func seeded(t *testing.T) *rand.Rand {
	seed := uint64(1)
	if s, err := strconv.ParseUint(os.Getenv("SAFECKPT_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("SAFECKPT_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// moeTargets are linear modules of the models with experts. PEFT takes the names
// of others for experts, where it does not refuse them.
var moeTargets = map[string][]string{
	"qwen2_moe":   {"q_proj", "k_proj", "v_proj", "o_proj", "shared_expert.gate_proj", "up_proj", "down_proj"},
	"qwen3_moe":   {"q_proj", "k_proj", "v_proj", "o_proj"},
	"deepseek_v3": {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"},
}

// randomJob makes a config of LoRA that uses some of everything.
func randomJob(r *rand.Rand) job {
	some := func(p float64) bool { return r.Float64() < p }
	j := job{Model: pick(r, 1, "llama", "qwen2", "qwen2", "qwen2_moe", "qwen3_moe", "deepseek_v3")[0], Type: "LORA", Tied: some(0.3), Config: map[string]any{"r": 1 + r.IntN(8), "lora_alpha": 1 + r.IntN(32)}}
	c := j.Config
	linear := []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "layers.1.mlp.up_proj"}
	ranks := map[string]int{pick(r, 1, "q_proj", `.*mlp.*`, `layers\.1\..*`)[0]: 3, "down_proj": 5}
	if own, moe := moeTargets[j.Model]; moe {
		linear, ranks = own, map[string]int{"o_proj": 3}
	}
	switch r.IntN(5) {
	case 0:
		c["target_modules"] = "all-linear"
	case 1:
		c["target_modules"] = pick(r, 1, `.*\.(q|v)_proj`, `(?!.*layers\.1).*mlp\.\w+_proj`, `model\.layers\.[02]\..*(?<!o)_proj`, `.*(?:embed_tokens|k_proj)$`)[0]
	default:
		c["target_modules"] = pick(r, 5, append(slices.Clone(linear), "embed_tokens", "lm_head", "model.layers.0.self_attn.o_proj")...)
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
		c["rank_pattern"] = ranks
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
		c["bias"] = pick(r, 1, "all", "lora_only")[0]
	}
	if some(0.3) {
		c["modules_to_save"] = pick(r, 2, "lm_head", "embed_tokens", "norm", "input_layernorm", "k_proj")
	} else if some(0.3) {
		c["trainable_token_indices"] = []any{[]int{1, 5}, map[string][]int{"embed_tokens": {2, 3, 4}}}[r.IntN(2)]
	}
	return j
}

// TestPython holds Check against LoRA adapters that the real PEFT has just saved:
// all of them fit their base, tensor for tensor, with the same scalings.
func TestPython(t *testing.T) {
	r := seeded(t)
	var jobs []job
	for range 60 {
		jobs = append(jobs, randomJob(r))
	}
	for i, s := range adaptersOf(t, jobs) {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			s.fits(t)
			res := Check(s.a, s.base)
			require.Len(t, res.Modules, len(s.scaling), "%s", s)
			for _, m := range res.Modules {
				want, ok := s.scaling[m.Path]
				if !ok { // the wrapper of a parameter has the name of its module
					require.Contains(t, moeTargets, s.Model)
					continue
				}
				require.Equal(t, want, m.Scaling, "%s: %s", m.Path, s)
			}
		})
	}
}

// fits asserts that an adapter which PEFT has saved is good, whatever is known of
// its base.
func (s *savedAdapter) fits(t *testing.T) {
	t.Helper()
	for known, base := range map[string]*Base{"config": s.base, "disk": s.disk, "none": nil} {
		res := Check(s.a, base)
		require.Zero(t, res.Report.Count(diag.Error), "%s %s: %s", known, s, res.Report.Summary())
		require.Equal(t, methods[s.Type] != nil, res.Expected, "%s", s)
		if known == "config" && base != nil && res.Expected {
			require.Zero(t, res.Report.Count(diag.Warning), "%s: %s", s, res.Report.Summary())
			require.Equal(t, len(res.Modules), res.Complete, "%s", s)
			require.NotEmpty(t, res.Modules, "%s", s)
			require.Zero(t, res.Unexplained, "%s", s)
		}
	}
}
