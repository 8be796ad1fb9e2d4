package run

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/checkpoint/checkpointtest"
	"github.com/safeckpt/safeckpt/diag"
)

var update = flag.Bool("update", false, "rewrite docs/snippets.md")

const snippetsPage = "../../docs/snippets.md"

const snippetsHead = `# What the usual snippets say, and what we say

Two snippets are used to verify a checkpoint:

    model = AutoModel.from_pretrained(base)              # 1: AutoModel plus PeftModel
    model = PeftModel.from_pretrained(model, checkpoint)
    print("Checkpoint valid!")

    model = AutoModel.from_pretrained(checkpoint)        # 2: AutoModel alone
    print("Checkpoint valid!")

Both were run on a tiny Qwen2 model that the Trainer saved, full and as a LoRA adapter, whole and damaged, with transformers 5.23 and
peft 0.21. "valid!" is what the snippet printed; what follows is the beginning of each warning, or of what was raised. The last column is
` + "`safeckpt verify --values`" + `, with ` + "`--base`" + ` for the adapter. This page is written by ` + "`go test ./checkpoint/run -run TestPeerSnippets -update`" + `,
and the test holds it against what both say today.

- Snippet 1 fails on a whole adapter: AutoModel loads the model without its head, which PEFT's task type CAUSAL_LM does not go with.
  AutoModelForCausalLM is what is wanted; ` + "`safeckpt runs resume`" + ` prints the lines for the checkpoint at hand.
- Snippet 2 says "valid!" of weights with a tensor missing, with NaN, and of names that do not match at all: the report that transformers
  logs is a warning, and even a whole model has one, for its head.
- Neither looks at the training state.

| checkpoint | 1: AutoModel plus PeftModel | 2: AutoModel alone | safeckpt |
| --- | --- | --- | --- |
`

// TestPeerSnippets runs what people verify checkpoints with, and writes down what
// they print beside what we do.
func TestPeerSnippets(t *testing.T) {
	python(t)
	full, lora := train(t, "full"), train(t, "lora")
	base := filepath.Join(full, "checkpoint-4")
	// Snippet 2 finds the base by its path, as a user's machine does.
	require.NoError(t, checkpointtest.Edit("adapter_config.json", `"base_model_name_or_path": null`, fmt.Sprintf(`"base_model_name_or_path": %q`, base))(filepath.Join(lora, "checkpoint-4")))
	const weights, adapter = "model.safetensors", "adapter_model.safetensors"
	const down, loraB = "model.layers.1.mlp.down_proj.weight", "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"
	cases := []struct {
		name   string
		from   string
		damage []checkpointtest.Damage
		valid  bool
		code   diag.Code
	}{
		{"full, whole", full, nil, true, ""},
		{"full, a tensor missing", full, []checkpointtest.Damage{checkpointtest.Drop(weights, func(n string) bool { return n == down })}, false, diag.TensorMissing},
		{"full, a tensor is NaN", full, []checkpointtest.Damage{checkpointtest.Fill(weights, down, 0xff)}, false, diag.ValueNaN},
		{"full, names with another prefix", full, []checkpointtest.Damage{checkpointtest.Rename(weights, func(n string) string { return "module." + n })}, false, ""},
		{"full, another vocabulary in config.json", full, []checkpointtest.Damage{checkpointtest.Edit("config.json", `"vocab_size": 48`, `"vocab_size": 50`)}, false, diag.TensorShape},
		{"full, weights cut", full, []checkpointtest.Damage{checkpointtest.Truncate(weights, 0.9)}, false, diag.FileTruncated},
		{"full, optimizer.pt cut", full, []checkpointtest.Damage{checkpointtest.Truncate("optimizer.pt", 0.5)}, false, diag.NotTorchArchive},
		{"full, no trainer_state.json", full, []checkpointtest.Damage{checkpointtest.Remove("trainer_state.json")}, true, diag.TrainerStateMissing},
		{"lora, whole", lora, nil, true, ""},
		{"lora, a tensor missing", lora, []checkpointtest.Damage{checkpointtest.Drop(adapter, func(n string) bool { return n == loraB })}, false, diag.AdapterTensorMissing},
		{"lora, a tensor is NaN", lora, []checkpointtest.Damage{checkpointtest.Fill(adapter, loraB, 0xff)}, false, diag.ValueNaN},
		{"lora, names of another model", lora, []checkpointtest.Damage{checkpointtest.Rename(adapter, func(n string) string { return strings.Replace(n, "model.layers", "model.language_model.layers", 1) })}, false, ""},
		{"lora, another rank in adapter_config.json", lora, []checkpointtest.Damage{checkpointtest.Edit("adapter_config.json", `"r": 2`, `"r": 4`)}, false, ""},
		{"lora, weights cut", lora, []checkpointtest.Damage{checkpointtest.Truncate(adapter, 0.9)}, false, diag.FileTruncated},
		{"lora, no adapter_config.json", lora, []checkpointtest.Damage{checkpointtest.Remove("adapter_config.json")}, false, diag.AdapterConfigMissing},
	}
	args := []string{base}
	for _, tt := range cases {
		step := filepath.Join(t.TempDir(), filepath.Base(tt.from), "checkpoint-4")
		require.NoError(t, os.MkdirAll(filepath.Dir(step), 0o755))
		require.NoError(t, os.Rename(checkpointtest.Damaged(t, filepath.Join(tt.from, "checkpoint-4"), tt.damage...), step))
		args = append(args, step)
	}
	all := hear(t, "snippets.py", args...)
	page := snippetsHead
	for i, tt := range cases {
		step := args[1+i]
		o := &checkpoint.ValidateOptions{Values: true}
		if tt.from == lora {
			o.Base = base
		}
		results, err := checkpoint.ValidateAll(t.Context(), step, o)
		require.NoError(t, err)
		r := results[0]
		require.Equal(t, tt.valid, r.Valid(), "%s: %s", tt.name, r.Report.Summary())
		require.True(t, tt.code == "" || r.Report.Has(tt.code), "%s: %s", tt.name, r.Report.Summary())
		cells := map[string]string{"with_adapter": "not for a full model"}
		for _, h := range all {
			if h.Checkpoint == step {
				cells[h.Snippet] = h.cell(args)
			}
		}
		ours := r.Verdict()
		said := slices.DeleteFunc(r.Report.Problems(), func(p diag.Problem) bool { return p.Severity == diag.Note })
		for _, p := range said[:min(2, len(said))] {
			ours += "<br>" + string(p.Code) + " " + cell(p.Message, args)
		}
		if n := len(said) - 2; n > 0 {
			ours += fmt.Sprintf("<br>and %d more", n)
		}
		page += fmt.Sprintf("| %s | %s | %s | %s |\n", tt.name, cells["with_adapter"], cells["alone"], ours)
	}
	if *update {
		require.NoError(t, os.WriteFile(snippetsPage, []byte(page), 0o644))
	}
	want, err := os.ReadFile(snippetsPage)
	require.NoError(t, err)
	require.Equal(t, string(want), page, "refresh with -update")
}

// cell is what a snippet said, in short.
func (h *heard) cell(paths []string) string {
	if h.Raised != nil {
		return "raises " + cell(*h.Raised, paths)
	}
	parts := []string{"**valid!**"}
	for _, w := range h.Warnings {
		if c := cell(w, paths); !slices.Contains(parts, c) {
			parts = append(parts, c)
		}
	}
	return strings.Join(parts, "<br>")
}

var (
	ansi     = regexp.MustCompile("\x1b\\[[0-9;]*m")
	reported = regexp.MustCompile(`(?m)^(\S.*?)\s*\|\s*(MISSING|UNEXPECTED|MISMATCH)`)
)

// cell makes a table's cell of a text: its beginning, without this machine's
// paths.
func cell(text string, paths []string) string {
	for _, p := range paths {
		text = strings.ReplaceAll(text, p, "CHECKPOINT")
	}
	text = ansi.ReplaceAllString(text, "")
	if strings.Contains(text, "LOAD REPORT") {
		rows := reported.FindAllStringSubmatch(text, -1)
		slices.SortFunc(rows, func(a, b []string) int { return strings.Compare(a[1], b[1]) }) // they are a Python set's
		report := "report:"
		for _, row := range rows[:min(2, len(rows))] {
			report += " " + row[1] + " " + row[2] + ","
		}
		text = strings.TrimSuffix(report, ",")
		if n := len(rows) - 2; n > 0 {
			text += fmt.Sprintf(" and %d more", n)
		}
	}
	text = strings.Join(strings.Fields(text), " ")
	text = strings.NewReplacer("|", "/", "<", "&lt;").Replace(text)
	if runes := []rune(text); len(runes) > 140 {
		text = string(runes[:140]) + "…"
	}
	return text
}
