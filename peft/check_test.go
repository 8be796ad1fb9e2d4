package peft

import (
	"bytes"
	"context"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

func codes(r *diag.Report, least diag.Severity) []diag.Code {
	var out []diag.Code
	for _, p := range r.Problems() {
		if p.Severity >= least && !slices.Contains(out, p.Code) {
			out = append(out, p.Code)
		}
	}
	slices.Sort(out)
	return out
}

// bases returns what can be known of a fixture's base.
func bases(t *testing.T, name string) map[string]*Base {
	m := map[string]*Base{"none": nil, "disk": diskBase(t, name)}
	if b := configBase(t, name); b != nil {
		m["config"] = b
	}
	return m
}

// TestFixtures holds every good adapter against its base: no warning, every
// tensor explained, and rank and scaling as PEFT has them.
func TestFixtures(t *testing.T) {
	for _, name := range directories(t, "fixtures") {
		e := readExpected(t, "fixtures", name)
		for known, base := range bases(t, e.Base) {
			t.Run(name+"/"+known, func(t *testing.T) {
				a := readAdapter(t, "fixtures", name)
				r := Check(a, base)
				require.Empty(t, codes(&r.Report, diag.Warning), "%s", r.Report.Summary())
				require.Zero(t, r.Unexplained)
				require.Equal(t, methods[a.Config.Type] != nil, r.Expected)
				require.Equal(t, len(r.Modules), r.Complete)
				if a.Config.Type != "LORA" || name == "qwen3moe_params" && known == "disk" || strings.HasPrefix(name, "qwen3moe") && known == "none" {
					return // fused experts have no module on disk, and no path of their own without a base
				}
				for _, m := range r.Modules {
					want, ok := e.Modules[strings.TrimSuffix(m.Path, ".weight")]
					if !ok {
						require.Contains(t, name, "qwen3moe", m.Path) // experts, which PEFT joins
						continue
					}
					require.Equal(t, want[0], float64(m.Rank), m.Path)
					require.Equal(t, want[1], m.Scaling, m.Path)
				}
				if !strings.HasPrefix(name, "qwen3moe") && name != "mha_in_proj" {
					require.Len(t, r.Modules, len(e.Modules))
				}
			})
		}
	}
}

// faults are what must be found, with a base known by its config (or by its
// tensors, where the model type has no schema), and without one. Errors are in
// upper case in wantBase; "w:" marks warnings and "n:" notes.
var faults = map[string]struct{ base, none string }{
	"adapter_name_kept":        {"n:A024", "n:A024"},
	"adapter_name_other":       {"A024", "A024"},
	"alpha_pattern_sorted":     {"w:A015", "w:A015"},
	"base_weights_inside":      {"A043", "A043"},
	"config_alpha_zero":        {"A003", "A003"},
	"config_bad_peft_type":     {"A002", "A002"},
	"config_dora_flag_lost":    {"A042", "A042"},
	"config_no_alpha":          {"w:A004", "w:A004"},
	"config_no_peft_type":      {"A001", "A001"},
	"config_no_r":              {"w:A004", "w:A004"},
	"config_r_zero":            {"A001", "A001"},
	"config_rslora_lost":       {"", ""}, // no tensor shows it
	"config_unknown_key":       {"w:A005", "w:A005"},
	"dora_no_magnitude":        {"A027", "A027"},
	"empty_file":               {"A020", "A020"},
	"extra_layer":              {"A041", ""},
	"extra_module":             {"A040", "A040"},
	"fp16_overflow":            {"w:A045", ""}, // only the merged values show it
	"int8_lora":                {"A022", "A022"},
	"legacy_vl_names":          {"w:A023", ""},
	"lora_b_zeros":             {"", ""}, // see TestCheckValues
	"missing_lora_B":           {"A027", "A027"},
	"missing_module":           {"A026", "w:A028"},
	"mts_missing":              {"A027", "A027"},
	"mts_wrong_shape":          {"A033", ""},
	"nan_lora_A":               {"", ""}, // values again
	"no_target_modules":        {"w:A010", "w:A010"},
	"other_arch_same_names":    {"w:A045", ""},
	"path_base_name":           {"n:A009", "n:A009"},
	"prefix_double":            {"A023", "A023"},
	"prefix_missing":           {"A023", "A023"},
	"rank_one_tensor":          {"A031", "A031"},
	"rank_pattern_sorted":      {"A031", "A031"},
	"shallow_adapter":          {"A026", ""},
	"swapped_AB":               {"A032", "A032"},
	"swapped_AB_square":        {"", ""}, // no shape shows it
	"targets_match_nothing":    {"A011", "A011"},
	"targets_partly_bogus":     {"w:A012", "w:A012"},
	"targets_regex_in_list":    {"A011", "A011"},
	"vocab_resized_embed":      {"A033", "n:A043"},
	"vocab_resized_lora_embed": {"A033", ""},
	"wrong_base_name":          {"w:A045", ""},
	"wrong_hidden":             {"A030 A041 w:A045", ""},
	"wrong_kv_heads":           {"A030", ""},
	"zero3_empty":              {"A021", "A021"},
}

func TestFaults(t *testing.T) {
	names := directories(t, "faults")
	names = slices.DeleteFunc(names, func(n string) bool { return n == "config_not_json" })
	require.ElementsMatch(t, names, sortedKeys(faults))
	for _, name := range names {
		e := readExpected(t, "faults", name)
		for known, base := range bases(t, e.Base) {
			t.Run(name+"/"+known, func(t *testing.T) {
				want := faults[name].base
				switch {
				case base == nil:
					want = faults[name].none
				case name == "legacy_vl_names" && !base.certain:
					want = "" // the names of the disk are all that is known
				default:
					named := *base
					named.Name = "bases/" + e.Base
					base = &named
				}
				r := Check(readAdapter(t, "faults", name), base)
				var got []string
				for _, p := range r.Report.Problems() {
					mark := map[diag.Severity]string{diag.Note: "n:", diag.Warning: "w:"}[p.Severity]
					if !slices.Contains(got, mark+string(p.Code)) {
						got = append(got, mark+string(p.Code))
					}
					require.NotEmpty(t, p.Message)
					require.NotEmpty(t, p.File)
					if p.Severity > diag.Note {
						require.NotEmpty(t, p.Cause+p.Got, p.Message)
						require.NotEmpty(t, p.Fix, p.Message)
					}
				}
				require.Equal(t, want, strings.Join(got, " "), "%s", r.Report.Summary())
			})
		}
	}
	_, err := ParseConfig(readFile(t, "faults", "config_not_json", "adapter_config.json"))
	require.ErrorIs(t, err, diag.AdapterConfigInvalid)
}

// TestExplained checks that the message of a fault says what a person needs.
func TestExplained(t *testing.T) {
	for name, want := range map[string][]string{
		"legacy_vl_names":          {"0 of 6 modules", "4 match after model -> model.language_model", "2 match after \"\" -> model", "rename-adapter"},
		"rank_pattern_sorted":      {"has rank 4", `rank_pattern "[qv]_proj" gives 6`, `"self_attn.q_proj"`, "sorts the keys"},
		"vocab_resized_lora_embed": {"grown by 5 tokens, from 128 to 133", "resize_token_embeddings(133)"},
		"extra_layer":              {"layers end at 2", "more layers"},
		"shallow_adapter":          {"nothing for layers 2 of model.layers", "fewer layers"},
		"zero3_empty":              {"ZeRO-3", "42 of 42", "merge-zero"},
		"no_target_modules":        {"q_proj v_proj", "leaves out 15 of 21"},
		"targets_regex_in_list":    {"plain text"},
		"config_dora_flag_lost":    {"set use_dora to true"},
		"wrong_hidden":             {"[32,2]", "[64,2]", "other sizes"},
	} {
		t.Run(name, func(t *testing.T) {
			base := configBase(t, readExpected(t, "faults", name).Base)
			require.NotNil(t, base)
			var text strings.Builder
			r := Check(readAdapter(t, "faults", name), base)
			require.NoError(t, r.Report.WriteText(&text, nil))
			for _, w := range want {
				require.Contains(t, text.String(), w)
			}
		})
	}
}

func TestBaseName(t *testing.T) {
	a := readAdapter(t, "faults", "wrong_base_name")
	for _, tt := range []struct {
		name, dir string
		want      string
	}{
		{"Qwen/Qwen2-7B", "/any", "warning"},
		{"", "/cache/hub/models--Qwen--Qwen2-7B/snapshots/0123", "warning"},
		{"", "/models/qwen2", "note"},
		{"", "/models/" + lastPath(a.Config.BaseModelName), ""},
		{"elsewhere/" + lastPath(a.Config.BaseModelName), "/any", ""},
	} {
		base := *configBase(t, "qwen2")
		base.Name, base.Directory = tt.name, tt.dir
		found := Check(a, &base).Report.Problems()
		if tt.want == "" {
			require.Empty(t, found, "%v", tt)
			continue
		}
		require.Len(t, found, 1, "%v", tt)
		require.Equal(t, diag.AdapterBaseName, found[0].Code)
		require.Equal(t, tt.want, found[0].Severity.String(), "%v", tt)
	}
}

func lastPath(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

func TestSummary(t *testing.T) {
	a := readAdapter(t, "faults", "missing_module")
	r := Check(a, configBase(t, "qwen2"))
	require.Equal(t, "18 of 21 targeted modules have their tensors, 0 tensors unexplained", r.Summary())
	require.Contains(t, Check(a, nil).Summary(), "not held against a base")
	require.True(t, math.IsNaN((&Config{Type: "LOHA"}).scaling(4, 8)))
}

// TestRenames holds the names that would fit against those of the good adapter.
func TestRenames(t *testing.T) {
	for fault, good := range map[string]string{"legacy_vl_names": "qwen25vl_small", "prefix_missing": "qwen2_r8", "prefix_double": "qwen2_r8", "adapter_name_kept": "qwen2_r8"} {
		base := configBase(t, readExpected(t, "faults", fault).Base)
		a := readAdapter(t, "faults", fault)
		r := Check(a, base)
		require.Len(t, r.Names, len(a.Tensors))
		var got, want []string
		for _, x := range a.Tensors {
			got = append(got, r.Names[x.Name])
		}
		for _, x := range readTensors(t, "fixtures", good) {
			want = append(want, x.Name)
		}
		require.ElementsMatch(t, want, got)
	}
}

// variant returns the tensors of a fixture under changed names.
func variant(t *testing.T, fixture string, change func(string) string) *Adapter {
	a := readAdapter(t, "fixtures", fixture)
	for i := range a.Tensors {
		a.Tensors[i].Name = change(a.Tensors[i].Name)
	}
	return a
}

func TestNames(t *testing.T) {
	replace := func(old, new string) func(string) string {
		return func(s string) string { return strings.Replace(s, old, new, 1) }
	}
	for _, tt := range []struct {
		name, fixture string
		change        func(string) string
		want          diag.Code
		renames       string
	}{
		{"headless", "qwen2_r8", replace("base_model.model.model.", "base_model.model."), diag.AdapterNames, `"" -> model`},
		{"prefix of another class", "qwen2_r8", replace("base_model.model.model.", "base_model.model.thinker.model."), diag.AdapterNames, `thinker -> ""`},
		{"older names", "qwen25vl_lang_regex", replace("model.language_model.", "language_model.model."), diag.AdapterNames, "language_model.model -> model.language_model"},
		{"distributed", "qwen2_r8", func(s string) string { return "module." + s }, diag.AdapterNames, ""},
		{"compiled", "qwen2_r8", replace("base_model.model.", "base_model.model._orig_mod."), diag.AdapterNames, ""},
		{"sharded", "qwen2_r8", replace("layers.1.", "layers.1._fsdp_wrapped_module."), diag.AdapterNames, ""},
		{"another model", "qwen2_r8", replace("layers", "h"), diag.AdapterOtherBase, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := configBase(t, readExpected(t, "fixtures", tt.fixture).Base)
			r := Check(variant(t, tt.fixture, tt.change), base)
			require.Equal(t, []diag.Code{tt.want}, codes(&r.Report, diag.Note), "%s", r.Report.Summary())
			var renames []string
			for _, x := range r.Renames {
				renames = append(renames, x.String())
			}
			require.Equal(t, tt.renames, strings.Join(renames, ", "))
			if tt.want == diag.AdapterNames {
				require.Equal(t, r.Complete, len(r.Modules))
				good := readTensors(t, "fixtures", tt.fixture)
				for _, x := range good {
					if to, ok := r.Names[tt.change(x.Name)]; ok {
						require.Equal(t, x.Name, to)
					} else {
						require.Equal(t, x.Name, tt.change(x.Name))
					}
				}
			}
		})
	}

	t.Run("twice", func(t *testing.T) {
		a := readAdapter(t, "fixtures", "qwen2_r8")
		a.Tensors = append(a.Tensors, readAdapter(t, "faults", "adapter_name_kept").Tensors...)
		r := Check(a, nil)
		require.Contains(t, codes(&r.Report, diag.Error), diag.AdapterTensorTwice)
	})
}

func TestUnsupportedTargets(t *testing.T) {
	a := readAdapter(t, "fixtures", "qwen2_r8")
	for target, want := range map[string]bool{"q_proj": false, "mlp": true, "input_layernorm": true, "layers": true} {
		c, err := ParseConfig([]byte(`{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["v_proj", "` + target + `"]}`))
		require.NoError(t, err)
		r := Check(&Adapter{c, a.Tensors}, configBase(t, "qwen2"))
		require.Equal(t, want, r.Report.Has(diag.AdapterUnsupported), target)
	}
}

func TestAllLinear(t *testing.T) {
	for _, name := range []string{"ALL-linear", "all-linear"} {
		c, err := ParseConfig([]byte(`{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": "` + name + `"}`))
		require.NoError(t, err)
		for known, base := range bases(t, "qwen2") {
			r := Check(&Adapter{c, readTensors(t, "fixtures", "qwen2_r8")}, base)
			require.Empty(t, r.Report.Problems(), known)
			require.Equal(t, 21, r.Complete)
		}
	}
}

func TestLayerReplication(t *testing.T) {
	c, err := ParseConfig([]byte(`{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "layer_replication": [[0, 2], [1, 3]]}`))
	require.NoError(t, err)
	var tensors []safetensors.TensorInfo
	for _, x := range readTensors(t, "fixtures", "qwen2_r8") {
		if !strings.Contains(x.Name, "q_proj") {
			continue
		}
		tensors = append(tensors, x)
		if strings.Contains(x.Name, "layers.2.") {
			x.Name = strings.Replace(x.Name, "layers.2.", "layers.3.", 1)
			tensors = append(tensors, x)
		}
	}
	for _, base := range []*Base{configBase(t, "qwen2"), diskBase(t, "qwen2")} {
		r := Check(&Adapter{c, tensors}, base)
		require.Equal(t, []diag.Code{diag.AdapterNotPlain}, codes(&r.Report, diag.Note), "%s", r.Report.Summary())
		require.Equal(t, 4, r.Complete)
	}
}

func TestEvenLayers(t *testing.T) {
	all := readTensors(t, "fixtures", "qwen2_r8")
	config := readAdapter(t, "fixtures", "qwen2_r8").Config
	// stack builds an adapter of n layers with the modules that keep says.
	stack := func(n int, keep func(layer int, module string) bool) *Adapter {
		a := &Adapter{Config: config}
		for _, x := range all {
			if !strings.Contains(x.Name, "layers.0.") {
				continue
			}
			for i := range n {
				y := x
				y.Name = strings.Replace(x.Name, "layers.0.", "layers."+string(rune('0'+i))+".", 1)
				if keep(i, y.Name) {
					a.Tensors = append(a.Tensors, y)
				}
			}
		}
		return a
	}
	for name, tt := range map[string]struct {
		keep func(int, string) bool
		want bool
	}{
		"whole":              {func(int, string) bool { return true }, false},
		"one layer lacks":    {func(i int, m string) bool { return i != 5 || !strings.Contains(m, "mlp") }, true},
		"a layer is missing": {func(i int, _ string) bool { return i != 4 }, true},
		"every third":        {func(i int, m string) bool { return i%3 != 2 || !strings.Contains(m, "attn") }, false},
		"most lack":          {func(i int, m string) bool { return i > 2 || !strings.Contains(m, "attn") }, true},
		"few have":           {func(i int, m string) bool { return i > 6 || !strings.Contains(m, "attn") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := Check(stack(9, tt.keep), nil)
			require.Equal(t, tt.want, r.Report.Has(diag.AdapterUneven), "%s", r.Report.Summary())
		})
	}
}

func TestCheckValues(t *testing.T) {
	for fault, want := range map[string][]diag.Code{"lora_b_zeros": {diag.AdapterZero}, "nan_lora_A": nil} {
		f, err := safetensors.Open(filepath.Join("testdata", "faults", fault, WeightsFile), nil)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		c := readAdapter(t, "faults", fault).Config
		r, err := CheckValues(t.Context(), c, f.All())
		require.NoError(t, err)
		require.Equal(t, want, codes(r, diag.Note))
		if fault == "lora_b_zeros" {
			require.Contains(t, r.Problems()[0].Message, "21 of 21 lora_B are all zero")
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err = CheckValues(ctx, c, f.All())
			require.ErrorIs(t, err, context.Canceled)
		}
		require.NoError(t, f.Close())
	}
}

func TestCheckValuesPartly(t *testing.T) {
	name := filepath.Join(t.TempDir(), WeightsFile)
	var tensors []safetensors.TensorData
	for key, data := range map[string][]byte{
		"a.lora_A.weight":    {0, 0, 0, 0},
		"a.lora_B.weight":    {0, 0, 0, 0x80}, // minus zero
		"b.lora_B.weight":    {0, 0, 0, 1},
		"c.lora_embedding_B": {0, 0, 0, 0},
		"d.bias":             {0, 0, 0, 0},
	} {
		info := safetensors.TensorInfo{Name: modelPrefix + key, DType: safetensors.F32, Shape: []uint64{1, 1}}
		tensors = append(tensors, safetensors.TensorData{TensorInfo: info, Data: bytes.NewReader(data)})
	}
	require.NoError(t, safetensors.WriteFile(t.Context(), name, tensors, nil, nil))
	f, err := safetensors.Open(name, nil)
	require.NoError(t, err)
	defer f.Close()
	r, err := CheckValues(t.Context(), &Config{Type: "LORA"}, f.All())
	require.NoError(t, err)
	var got []string
	for _, p := range r.Problems() {
		require.Equal(t, diag.AdapterPartlyZero, p.Code)
		got = append(got, p.Tensor)
	}
	require.Equal(t, []string{modelPrefix + "a.lora_B.weight", modelPrefix + "c.lora_embedding_B"}, got)

	r, err = CheckValues(t.Context(), &Config{Type: "LN_TUNING"}, f.All())
	require.NoError(t, err)
	require.Empty(t, r.Problems())
}

// TestQuantizedBase makes sure that packed weights, whose shapes say nothing,
// raise no false alarm.
func TestQuantizedBase(t *testing.T) {
	for name, pack := range map[string]func(*safetensors.TensorInfo){
		"bitsandbytes": func(x *safetensors.TensorInfo) {
			x.DType, x.Shape = safetensors.U8, []uint64{x.Shape[0] * x.Shape[1] / 2, 1}
		},
		"gptq": func(x *safetensors.TensorInfo) {
			x.Name = strings.TrimSuffix(x.Name, "weight") + "qweight"
			x.DType, x.Shape = safetensors.I32, []uint64{x.Shape[1] / 8, x.Shape[0]}
		},
	} {
		tensors := readTensors(t, "bases", "qwen2")
		base := BaseFromTensors(func(yield func(*safetensors.TensorInfo) bool) {
			for i := range tensors {
				if x := &tensors[i]; strings.HasSuffix(x.Name, "_proj.weight") {
					pack(x)
				}
				if !yield(&tensors[i]) {
					return
				}
			}
		})
		r := Check(readAdapter(t, "fixtures", "qwen2_r8"), base)
		require.Empty(t, r.Report.Problems(), name)
		require.Equal(t, 21, r.Complete)
	}
}

func TestRanges(t *testing.T) {
	of := func(set ...int) func(int) bool { return func(n int) bool { return slices.Contains(set, n) } }
	require.Equal(t, "0, 2-4, 7", ranges(7, of(0, 2, 3, 4, 7)))
	require.Equal(t, "0-1", ranges(1, of(0, 1, 2)))
	require.Empty(t, ranges(3, of()))
}
