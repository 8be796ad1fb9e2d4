package checkpoint

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestKindAndStateByFiles(t *testing.T) {
	for name, tt := range map[string]struct {
		files string
		kind  Kind
		state State
	}{
		"nothing":            {"", KindUnknown, StateNone},
		"text files":         {"README.md notes.txt", KindUnknown, StateNone},
		"model":              {"config.json model.safetensors", KindFull, StateNone},
		"variant":            {"config.json model.fp16.safetensors", KindFull, StateNone},
		"shards":             {"config.json model-00001-of-00002.safetensors model.safetensors.index.json", KindFull, StateNone},
		"config alone":       {"config.json", KindFull, StateNone},
		"pickled":            {"config.json pytorch_model.bin", KindFull, StateNone},
		"pickled shards":     {"pytorch_model-00001-of-00002.bin pytorch_model.bin.index.json", KindFull, StateNone},
		"Trainer":            {"config.json model.safetensors training_args.bin trainer_state.json", KindFull, StateTrainer},
		"adapter":            {"adapter_config.json adapter_model.safetensors", KindAdapter, StateNone},
		"adapter, Trainer":   {"adapter_config.json adapter_model.safetensors optimizer.pt", KindAdapter, StateTrainer},
		"named adapters":     {"policy/adapter_config.json policy/adapter_model.safetensors ref/adapter_config.json", KindAdapter, StateNone},
		"adapter, no config": {"adapter_model.safetensors", KindAdapter, StateNone},
		"adapter and model":  {"adapter_config.json adapter_model.safetensors model.safetensors", KindFull, StateNone},
		"state alone":        {"optimizer.pt trainer_state.json", KindUnknown, StateTrainer},
		"run":                {"checkpoint-10/config.json checkpoint-20/config.json", KindRun, StateNone},
		"run with its model": {"config.json model.safetensors checkpoint-10/config.json", KindFull, StateNone},
		"no number":          {"checkpoint-best/model.safetensors", KindUnknown, StateNone},
		"ZeRO-3":             {"latest global_step5/zero_pp_rank_0_mp_rank_00_model_states.pt global_step5/zero_pp_rank_0_mp_rank_00_optim_states.pt", KindZeRO, StateZeRO3},
		"ZeRO-3, gathered":   {"config.json model.safetensors latest global_step5/zero_pp_rank_0_mp_rank_00_model_states.pt", KindFull, StateZeRO3},
		"ZeRO tag itself":    {"zero_pp_rank_0_mp_rank_00_model_states.pt zero_pp_rank_0_mp_rank_00_optim_states.pt", KindZeRO, StateZeRO3},
		"bf16 ZeRO":          {"global_step5/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt global_step5/mp_rank_00_model_states.pt", KindZeRO, StateZeRO2},
		"FSDP":               {"pytorch_model_fsdp_0/.metadata pytorch_model_fsdp_0/__0_0.distcp optimizer_0/.metadata", KindFSDP, StateFSDP},
		"FSDP, one file":     {"pytorch_model_fsdp.bin optimizer.bin", KindFSDP, StateFSDP},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := fstest.MapFS{}
			for _, f := range strings.Fields(tt.files) {
				fsys[f] = &fstest.MapFile{Data: []byte("{}")}
			}
			c, err := OpenFS(t.Context(), fsys, nil)
			require.NoError(t, err)
			defer c.Close()
			require.Equal(t, tt.kind, c.Kind())
			require.Equal(t, tt.state, c.State())
		})
	}
}

func TestStageOfRealZeRO(t *testing.T) {
	for dir, want := range map[string]State{
		"z1-bf16opt": StateZeRO1,
		"z2":         StateZeRO2,
	} {
		c, err := Open(t.Context(), "testdata/zero/"+dir, nil)
		require.NoError(t, err)
		require.Equal(t, want, c.State())
		require.NoError(t, c.Close())
	}
}
