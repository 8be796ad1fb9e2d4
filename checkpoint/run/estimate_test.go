package run

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEstimateRealRuns holds the estimate from config.json against what the
// Trainer wrote, to 1 %. A log can be of any length: trainer_state.json is left out.
func TestEstimateRealRuns(t *testing.T) {
	config, err := os.ReadFile(real + "/trainer-full-all/checkpoint-10/config.json")
	require.NoError(t, err)
	for run, o := range map[string]*EstimateOptions{
		"trainer-full-all":               {},
		"trainer-full-best-limit2-peak2": {},
		"trainer-full-epoch-limit2":      {},
		"trainer-full-only-model":        {OnlyModel: true},
		"trainer-lora-all-state":         {LoRARank: 2, LoRATargets: []string{"q_proj", "v_proj"}},
		"trainer-lora-best-limit1-peak2": {LoRARank: 2, LoRATargets: []string{"q_proj", "v_proj"}},
		"trainer-lora-only-model":        {LoRARank: 2, LoRATargets: []string{"q_proj", "v_proj"}, OnlyModel: true},
	} {
		t.Run(run, func(t *testing.T) {
			e, err := EstimateConfig(config, o)
			require.NoError(t, err)
			r := open(t, filepath.Join(real, run))
			require.NotEmpty(t, r.Checkpoints)
			for _, c := range r.Checkpoints {
				state, err := os.Stat(filepath.Join(c.Path, "trainer_state.json"))
				require.NoError(t, err)
				require.InEpsilon(t, c.Bytes-state.Size(), e.Checkpoint-1700, 0.01)

				exact, err := EstimateCheckpoint(t.Context(), c.Path, nil)
				require.NoError(t, err)
				require.Equal(t, c.Bytes, exact.Checkpoint)
			}
		})
	}
}

// qwen25VL7B has the sizes of Qwen2.5-VL-7B-Instruct: 8,292,166,656 parameters.
const qwen25VL7B = `{"architectures":["Qwen2_5_VLForConditionalGeneration"],"model_type":"qwen2_5_vl","hidden_size":3584,"intermediate_size":18944,
"num_attention_heads":28,"num_hidden_layers":28,"num_key_value_heads":4,"vocab_size":152064,"tie_word_embeddings":false,"torch_dtype":"bfloat16",
"vision_config":{"depth":32,"hidden_act":"silu","hidden_size":1280,"intermediate_size":3420,"num_heads":16,"in_chans":3,"out_hidden_size":3584,
"patch_size":14,"spatial_merge_size":2,"spatial_patch_size":14,"window_size":112,"fullatt_block_indexes":[7,15,23,31],"tokens_per_second":2,"temporal_patch_size":2}}`

func TestEstimateQwen25VL7B(t *testing.T) {
	for name, tt := range map[string]struct {
		o    EstimateOptions
		want float64 // GB
	}{
		"weights bf16":          {EstimateOptions{OnlyModel: true}, 16.6},
		"weights fp32":          {EstimateOptions{OnlyModel: true, DType: "f32"}, 33.2},
		"adamw, bf16":           {EstimateOptions{Optimizer: "adamw_torch_fused"}, 49.8},
		"adamw, fp32":           {EstimateOptions{DType: "F32"}, 99.5},
		"ZeRO-2":                {EstimateOptions{Engine: "zero2"}, 132.7},
		"ZeRO-3 with gather":    {EstimateOptions{Engine: "zero3"}, 116.1},
		"ZeRO-3 without gather": {EstimateOptions{Engine: "zero3", NoGather: true}, 99.5},
		"LoRA 16":               {EstimateOptions{LoRARank: 16, OnlyModel: true}, 0.1615},
		"LoRA 64":               {EstimateOptions{LoRARank: 64, OnlyModel: true}, 0.646},
		"LoRA 128":              {EstimateOptions{LoRARank: 128, OnlyModel: true}, 1.292},
		"LoRA 16, adamw":        {EstimateOptions{LoRARank: 16}, 0.4844},
		"LoRA 64, adamw":        {EstimateOptions{LoRARank: 64}, 1.938},
		"LoRA 128, adamw":       {EstimateOptions{LoRARank: 128}, 3.876},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := EstimateConfig([]byte(qwen25VL7B), &tt.o)
			require.NoError(t, err)
			require.Equal(t, uint64(8_292_166_656), e.Parameters)
			require.InEpsilon(t, tt.want, float64(e.Checkpoint)/1e9, 0.01)
		})
	}
}

func TestPlanOfSaves(t *testing.T) {
	e, err := EstimateConfig([]byte(qwen25VL7B), &EstimateOptions{Engine: "zero2", MaxSteps: 1000, SaveSteps: 300, Limit: 3})
	require.NoError(t, err)
	require.Equal(t, 4, e.Saves)
	require.Equal(t, 3, e.Kept)
	require.Equal(t, 3*e.Checkpoint, e.Total)
	require.Equal(t, 4*e.Checkpoint+e.Weights, e.Peak)
	require.Equal(t, 3600.0*3, e.FullIn(2*e.Checkpoint+5, &EstimateOptions{Limit: 3, SecondsPerSave: 3600}))
	require.Equal(t, -1.0, e.FullIn(9*e.Checkpoint, &EstimateOptions{SecondsPerSave: 3600}))

	_, err = EstimateConfig([]byte(qwen25VL7B), &EstimateOptions{Optimizer: "muon"})
	require.ErrorContains(t, err, "muon")
	_, err = EstimateConfig([]byte(strings.Replace(qwen25VL7B, "{", `{"quantization_config": {"quant_method": "awq"},`, 1)), nil)
	require.ErrorContains(t, err, "the config.json that it was quantized from")
	_, err = EstimateConfig([]byte(qwen25VL7B), &EstimateOptions{Engine: "zero9"})
	require.ErrorContains(t, err, "zero9")
	_, err = EstimateConfig([]byte(qwen25VL7B), &EstimateOptions{LoRARank: 8, LoRATargets: []string{"nothing"}})
	require.ErrorContains(t, err, "nothing")
}
