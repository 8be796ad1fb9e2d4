package peft

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

func TestParseConfig(t *testing.T) {
	c, err := ParseConfig([]byte(`{"peft_type": "LORA", "r": 4, "lora_alpha": 6.5, "use_rslora": 1, "use_dora": null,
		"target_modules": ["q_proj"], "exclude_modules": ".*\\.0\\..*", "layers_to_transform": 3, "layers_pattern": "h", "modules_to_save": ["lm_head"],
		"rank_pattern": {"z": 2, "a": 3, "z": 4}, "alpha_pattern": {}, "trainable_token_indices": [1, 2], "init_lora_weights": "pissa_niter_4",
		"lora_dropout": NaN, "target_parameters": null, "bias": "all", "task_type": "CAUSAL_LM", "peft_version": "0.21.2"}`))
	require.NoError(t, err)
	require.Equal(t, 4, c.Rank)
	require.Equal(t, 6.5, c.Alpha)
	require.True(t, c.RSLoRA)
	require.False(t, c.DoRA)
	require.Equal(t, 6.5/math.Sqrt(4), c.scaling(4, 6.5))
	require.Equal(t, Names{Set: true, List: []string{"q_proj"}}, c.Targets)
	require.Equal(t, Names{Set: true, Regex: `.*\.0\..*`}, c.Exclude)
	require.Equal(t, []int{3}, c.LayersToTransform)
	require.Equal(t, []string{"h"}, c.LayersPattern)
	require.Equal(t, []TokenIndices{{Count: 2, IDs: []uint64{1, 2}}}, c.TokenIndices)
	require.Equal(t, "pissa_niter_4", c.Init)
	require.Equal(t, "z", c.RankPattern[0].Key) // the order of the file, of a dict
	require.Equal(t, 4.0, c.RankPattern[0].Value)
	require.Equal(t, "a", c.RankPattern[1].Key)
	require.True(t, c.has("target_parameters"))
	require.True(t, c.isNull("target_parameters"))
	require.False(t, c.has("use_qalora"))
	require.Equal(t, []diag.Code{diag.AdapterFieldTwice, diag.AdapterNotPlain}, codes(c.Report(), diag.Note))
}

func TestParseConfigProblems(t *testing.T) {
	for name, tt := range map[string]struct {
		text string // what follows the peft_type
		want diag.Code
	}{
		"good":                  {`"r": 8, "lora_alpha": 8`, ""},
		"bool is an int":        {`"r": true, "lora_alpha": 8`, ""},
		"older field null":      {`"r": 8, "lora_alpha": 8, "layers_pattern": null`, ""},
		"no r":                  {`"lora_alpha": 8`, diag.AdapterDefault},
		"no alpha":              {`"r": 8`, diag.AdapterDefault},
		"r zero":                {`"r": 0, "lora_alpha": 8`, diag.AdapterConfigInvalid},
		"r negative":            {`"r": -1, "lora_alpha": 8`, diag.AdapterConfigInvalid},
		"r float":               {`"r": 8.0, "lora_alpha": 8`, diag.AdapterConfigInvalid},
		"r null":                {`"r": null, "lora_alpha": 8`, diag.AdapterConfigInvalid},
		"r text":                {`"r": "8", "lora_alpha": 8`, diag.AdapterConfigInvalid},
		"r huge":                {`"r": 99999999999, "lora_alpha": 8`, diag.AdapterConfigInvalid},
		"alpha zero":            {`"r": 8, "lora_alpha": 0`, diag.AdapterAlphaZero},
		"alpha null":            {`"r": 8, "lora_alpha": null`, diag.AdapterConfigInvalid},
		"unknown field":         {`"r": 8, "lora_alpha": 8, "x": 1`, diag.AdapterFieldUnknown},
		"targets number":        {`"r": 8, "lora_alpha": 8, "target_modules": 3`, diag.AdapterConfigInvalid},
		"targets of numbers":    {`"r": 8, "lora_alpha": 8, "target_modules": [3]`, diag.AdapterConfigInvalid},
		"regex and layers":      {`"r": 8, "lora_alpha": 8, "target_modules": ".*q", "layers_to_transform": [1]`, diag.AdapterConfigInvalid},
		"pattern without index": {`"r": 8, "lora_alpha": 8, "target_modules": ["q"], "layers_pattern": ["h"]`, diag.AdapterConfigInvalid},
		"layers of text":        {`"r": 8, "lora_alpha": 8, "target_modules": ["q"], "layers_to_transform": ["1"]`, diag.AdapterConfigInvalid},
		"parameters text":       {`"r": 8, "lora_alpha": 8, "target_parameters": "x"`, diag.AdapterConfigInvalid},
		"bias":                  {`"r": 8, "lora_alpha": 8, "bias": "some"`, diag.AdapterConfigInvalid},
		"bias and dora":         {`"r": 8, "lora_alpha": 8, "lora_bias": true, "use_dora": true`, diag.AdapterConfigInvalid},
		"rank of text":          {`"r": 8, "lora_alpha": 8, "rank_pattern": {"q": "4"}`, diag.AdapterConfigInvalid},
		"rank of half":          {`"r": 8, "lora_alpha": 8, "rank_pattern": {"q": 4.5}`, diag.AdapterConfigInvalid},
		"patterns list":         {`"r": 8, "lora_alpha": 8, "rank_pattern": []`, diag.AdapterConfigInvalid},
		"pattern no regex":      {`"r": 8, "lora_alpha": 8, "rank_pattern": {"(": 4}`, diag.AdapterRegex},
		"tokens":                {`"r": 8, "lora_alpha": 8, "trainable_token_indices": 4`, diag.AdapterConfigInvalid},
		"tokens in object":      {`"r": 8, "lora_alpha": 8, "trainable_token_indices": {"x": 4}`, diag.AdapterConfigInvalid},
		"replication":           {`"r": 8, "lora_alpha": 8, "layer_replication": [[1]]`, diag.AdapterConfigInvalid},
		"replication huge":      {`"r": 8, "lora_alpha": 8, "layer_replication": [[0, 2000000000]]`, diag.AdapterConfigInvalid},
		"olora":                 {`"r": 8, "lora_alpha": 8, "init_lora_weights": "OLoRA"`, diag.AdapterNotPlain},
		"kasa":                  {`"r": 8, "lora_alpha": 8, "kasa_config": {"beta": 1}`, diag.AdapterNotPlain},
		"many to save":          {`"r": 8, "lora_alpha": 8, "modules_to_save": [` + strings.Repeat(`"x",`, maxEntries) + `"x"]`, diag.AdapterConfigInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := ParseConfig([]byte(`{"peft_type": "LORA", ` + tt.text + `}`))
			require.NoError(t, err)
			if tt.want == "" {
				require.Empty(t, c.Report().Problems())
			} else {
				require.Equal(t, tt.want, c.Report().Problems()[0].Code, "%s", c.Report().Summary())
			}
			for _, p := range c.Report().Problems() {
				require.Equal(t, ConfigFile, p.File)
				require.NotEmpty(t, p.Fix)
			}
		})
	}
	for name, tt := range map[string]struct {
		text string
		want diag.Code
	}{
		"no type":      {`{}`, diag.AdapterConfigInvalid},
		"null type":    {`{"peft_type": null}`, diag.AdapterConfigInvalid},
		"number":       {`{"peft_type": 3}`, diag.AdapterConfigInvalid},
		"lower case":   {`{"peft_type": "lora"}`, diag.AdapterTypeUnknown},
		"another type": {`{"peft_type": "LOHA", "r": 4}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := ParseConfig([]byte(tt.text))
			require.NoError(t, err)
			require.Equal(t, tt.want != "", c.Report().Has(tt.want))
		})
	}
}

func TestConfigError(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "null": "null", "list": "[]", "cut": `{"peft_type": "LO`, "long": strings.Repeat(" ", maxConfig+1)} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseConfig([]byte(text))
			require.ErrorIs(t, err, diag.AdapterConfigInvalid)
			var bad *ConfigError
			require.ErrorAs(t, err, &bad)
			require.Equal(t, ConfigFile, bad.Problem.File)
		})
	}
}

// TestMatcher holds the rules of target_modules; the answers are those of peft
// 0.21.2, check_target_module_exists.
func TestMatcher(t *testing.T) {
	for _, tt := range []struct {
		name, config string
		yes, no      []string
	}{
		{"suffix after a dot", `"target_modules": ["q_proj", "mlp.0"]`, []string{"q_proj", "a.q_proj", "x.mlp.0"}, []string{"aq_proj", "q_proj.x", "mlp.1"}},
		{"text, not regex", `"target_modules": [".*q_proj"]`, nil, []string{"a.q_proj"}},
		{"regex whole", `"target_modules": "a.*q"`, []string{"abq", "a.q"}, []string{"ba.q", "a.qx"}},
		{"look-around", `"target_modules": "^(?!.*visual).*(?:q_proj|v_proj)$"`, []string{"layers.0.q_proj"}, []string{"visual.0.q_proj"}},
		{"exclude list", `"target_modules": ["q"], "exclude_modules": ["0.q"]`, []string{"1.q"}, []string{"a.0.q", "0.q"}},
		{"exclude regex", `"target_modules": ["q"], "exclude_modules": "a\\..*"`, []string{"b.q"}, []string{"a.q"}},
		{"modules to save", `"target_modules": ["q"], "modules_to_save": ["head"]`, []string{"a.q", "ahead.q"}, []string{"head.q", "a.head.q", "a.head.b.q"}},
		{"layers", `"target_modules": ["q", "model.layers.9.q"], "layers_to_transform": [0, 2]`, []string{"model.layers.0.q", "model.layers.2.x.q", "model.layers.9.q"}, []string{"model.layers.1.q", "layers.0.q"}},
		{"layers first number", `"target_modules": ["q"], "layers_to_transform": 1`, []string{"m.layers.1.experts.0.q"}, []string{"m.layers.0.experts.1.q"}},
		{"layers pattern", `"target_modules": ["q"], "layers_to_transform": [1], "layers_pattern": ["h", "blocks?"]`, []string{"h.1.q", "m.h.1.q", "m.block.1.q"}, []string{"m.layers.1.q", "m.h.0.q"}},
		{"none", `"target_modules": []`, nil, []string{"q", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := ParseConfig([]byte(`{"peft_type": "LORA", "r": 8, "lora_alpha": 8, ` + tt.config + `}`))
			require.NoError(t, err)
			require.Empty(t, c.Report().Problems())
			m := newMatcher(c)
			for _, s := range tt.yes {
				_, ok := m.target(s)
				require.True(t, ok, s)
			}
			for _, s := range tt.no {
				_, ok := m.target(s)
				require.False(t, ok, s)
			}
			require.Empty(t, m.problems)
		})
	}
}

func TestMatcherUnusable(t *testing.T) {
	for _, config := range []string{`"target_modules": "(?<x>a)"`, `"target_modules": ["q"], "exclude_modules": "["`,
		`"target_modules": ["q"], "modules_to_save": ["("]`, `"target_modules": "(?=(a+)+b)(a+)+b"`} {
		c, err := ParseConfig([]byte(`{"peft_type": "LORA", "r": 8, "lora_alpha": 8, ` + config + `}`))
		require.NoError(t, err)
		m := newMatcher(c)
		m.target(strings.Repeat("a", 64))
		m.target(strings.Repeat("a", 65))
		require.Len(t, m.problems, 1)
		require.Equal(t, diag.AdapterRegex, m.problems[0].Code)
	}
}

func FuzzConfig(f *testing.F) {
	for _, kind := range []string{"fixtures", "faults"} {
		for _, name := range directories(f, kind) {
			f.Add(readFile(f, kind, name, "adapter_config.json"))
		}
	}
	tensors := make(map[string][]safetensors.TensorInfo) // by type
	for _, name := range directories(f, "fixtures") {
		if c := readAdapter(f, "fixtures", name).Config; readExpected(f, "fixtures", name).Base == "qwen2" && tensors[c.Type] == nil {
			tensors[c.Type] = readTensors(f, "fixtures", name)
		}
	}
	require.Greater(f, len(tensors), 15)
	disk, config := diskBase(f, "qwen2"), configBase(f, "qwen2")
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			require.ErrorIs(t, err, diag.AdapterConfigInvalid)
			return
		}
		for _, base := range []*Base{nil, disk, config} {
			r := Check(&Adapter{c, tensors[c.Type]}, base)
			require.LessOrEqual(t, r.Complete, len(r.Modules))
			for _, p := range r.Report.Problems() {
				require.NotEmpty(t, p.Message)
				require.NotEmpty(t, p.File)
			}
		}
	})
}

func FuzzNames(f *testing.F) {
	for _, name := range directories(f, "fixtures") {
		for i, x := range readTensors(f, "fixtures", name) {
			if i%5 == 0 {
				f.Add(x.Name, uint64(len(x.Shape)), uint64(8))
			}
		}
	}
	good := readAdapter(f, "fixtures", "qwen2_r8")
	disk, config := diskBase(f, "qwen2"), configBase(f, "qwen2")
	f.Fuzz(func(t *testing.T, name string, dims, n uint64) {
		x := good.Tensors[0]
		x.Name, x.Shape = name, nil
		for range dims % 8 {
			x.Shape = append(x.Shape, n)
		}
		a := &Adapter{good.Config, append(good.Tensors[1:len(good.Tensors):len(good.Tensors)], x)}
		for _, base := range []*Base{nil, disk, config} {
			r := Check(a, base)
			if name != good.Tensors[0].Name {
				require.NotZero(t, r.Report.Count(diag.Error)+r.Report.Count(diag.Warning)+r.Report.Count(diag.Note)+boolInt(base == nil), "%q", name)
			}
		}
	})
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
