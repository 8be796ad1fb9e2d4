package run

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/safeckpt/safeckpt/internal/pyjson"
)

// A history is the log of a trainer_state.json: the metrics of each step. Nil is
// an empty one.
type history struct{ steps map[int]map[string]float64 }

func readHistory(dir string) *history {
	text, err := os.ReadFile(filepath.Join(dir, "trainer_state.json"))
	if err != nil {
		return nil
	}
	var state struct {
		LogHistory []map[string]any `json:"log_history"`
	}
	if _, err := pyjson.Unmarshal(text, &state); err != nil {
		return nil
	}
	h := &history{steps: make(map[int]map[string]float64)}
	for _, entry := range state.LogHistory {
		step, ok := entry["step"].(float64)
		if !ok {
			continue
		}
		at := h.steps[int(step)]
		if at == nil {
			at = make(map[string]float64)
			h.steps[int(step)] = at
		}
		for key, v := range entry {
			if f, ok := v.(float64); ok {
				at[key] = f
			}
		}
	}
	return h
}

// metric returns a metric as metric_for_best_model names it: with or without
// "eval_" in front; "" means "loss".
func (h *history) metric(name string, step int) (float64, bool) {
	if h == nil {
		return 0, false
	}
	if name == "" {
		name = "loss"
	}
	if !strings.HasPrefix(name, "eval_") {
		name = "eval_" + name
	}
	v, ok := h.steps[step][name]
	return v, ok
}
