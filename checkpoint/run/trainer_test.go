package run

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const real = "../../testdata/checkpoints"

type recorded struct {
	Name        string
	Args        struct{ Save_total_limit int }
	Seconds     float64 `json:"seconds_between_saves"`
	Preexisting []int
	Error       string
	Events      []struct {
		Step   int      `json:"after_save_at_step"`
		OnDisk []string `json:"on_disk"`
		Best   *string  `json:"best_model_checkpoint"`
	}
	Final     []string `json:"final_on_disk"`
	FinalBest *string  `json:"final_best_model_checkpoint"`
}

// TestRecordedRuns replays what transformers 5.23 did in 26 real runs: after
// every save, and at the end, exactly what we say must be on disk.
func TestRecordedRuns(t *testing.T) {
	text, err := os.ReadFile(real + "/trainer_rotation.json")
	require.NoError(t, err)
	var file struct{ Runs []recorded }
	require.NoError(t, json.Unmarshal(text, &file))
	require.Len(t, file.Runs, 26)
	replayed := 0
	for _, r := range file.Runs {
		t.Run(r.Name, func(t *testing.T) {
			if r.Error != "" { // refused at the start: nothing was saved
				require.Empty(t, r.Events)
				return
			}
			now := time.Unix(1_700_000_000, 250_000_000)
			gap := max(time.Duration(r.Seconds*float64(time.Second)), 10*time.Millisecond)
			var dirs []Dir
			for _, name := range r.Preexisting {
				dirs = append(dirs, Dir{Name: stepName(name), ModTime: now})
			}
			for _, e := range r.Events {
				if e.Step == 0 {
					continue // an evaluation
				}
				now = now.Add(gap)
				name := stepName(e.Step)
				dirs = append(dirs, Dir{Name: name, ModTime: now})
				rotation := Rotation{Limit: r.Args.Save_total_limit, Best: text0(e.Best)}
				dirs = without(dirs, rotation.Deletes(dirs))
				require.ElementsMatch(t, e.OnDisk, names(dirs), "after step %d", e.Step)
				replayed++
			}
			rotation := Rotation{Limit: r.Args.Save_total_limit, Best: text0(r.FinalBest)}
			dirs = without(dirs, rotation.AtEnd(dirs))
			require.ElementsMatch(t, r.Final, names(dirs), "at the end")
		})
	}
	require.Greater(t, replayed, 80)
}

func text0(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func without(dirs []Dir, gone []string) []Dir {
	return slices.DeleteFunc(dirs, func(d Dir) bool { return slices.Contains(gone, d.Name) })
}

func names(dirs []Dir) []string {
	out := []string{}
	for _, d := range dirs {
		out = append(out, d.Name)
	}
	return out
}

// TestRotationTraps: all were run on rotate_checkpoints of transformers 5.23.0.
func TestRotationTraps(t *testing.T) {
	at := func(name string, seconds float64) Dir {
		return Dir{Name: name, ModTime: time.Unix(1_700_000_000, 0).Add(time.Duration(seconds * float64(time.Second)))}
	}
	steps := []Dir{at("checkpoint-100", 0), at("checkpoint-200", 10), at("checkpoint-300", 20)}
	for name, tt := range map[string]struct {
		dirs     []Dir
		rotation Rotation
		want     []string
	}{
		"no limit":         {steps, Rotation{}, nil},
		"negative limit":   {steps, Rotation{Limit: -1}, nil},
		"oldest goes":      {steps, Rotation{Limit: 2}, []string{"checkpoint-100"}},
		"best is kept":     {steps, Rotation{Limit: 2, Best: "checkpoint-100"}, []string{"checkpoint-200"}},
		"best and limit 1": {steps, Rotation{Limit: 1, Best: "checkpoint-100"}, []string{"checkpoint-200"}},
		"a hand copy counts and goes": {
			[]Dir{at("checkpoint-best", 5), at("checkpoint-100", 10), at("checkpoint-200", 20)},
			Rotation{Limit: 2}, []string{"checkpoint-best"},
		},
		"a hand copy within a second is not seen": {
			[]Dir{at("checkpoint-best", 0.1), at("checkpoint-100", 0.2), at("checkpoint-200", 0.3)},
			Rotation{Limit: 2}, nil,
		},
		"a file written into the oldest makes it the newest": {
			[]Dir{at("checkpoint-100", 30), at("checkpoint-200", 10), at("checkpoint-300", 20)},
			Rotation{Limit: 2}, []string{"checkpoint-200"},
		},
		"a new run in an old directory": {
			[]Dir{at("checkpoint-500", 0), at("checkpoint-600", 10), at("checkpoint-700", 20), at("checkpoint-100", 1000)},
			Rotation{Limit: 3}, []string{"checkpoint-500"},
		},
		"best as an absolute path, output_dir relative": {
			steps, Rotation{OutputDir: "out", Limit: 1, Best: "/data/out/checkpoint-100"}, []string{"checkpoint-100"},
		},
		"best as ./x/":               {steps, Rotation{OutputDir: "out/", Limit: 1, Best: "./out/checkpoint-100/"}, []string{"checkpoint-200"}},
		"best through ..":            {steps, Rotation{OutputDir: "out", Limit: 1, Best: "out/../out/checkpoint-100"}, []string{"checkpoint-100"}},
		"best somewhere else counts": {steps, Rotation{OutputDir: "out", Limit: 1, Best: "elsewhere"}, []string{"checkpoint-100"}},
		"a symlink survives but counts": {
			[]Dir{{Name: "checkpoint-050", ModTime: at("", 0).ModTime, Symlink: true}, at("checkpoint-100", 10), at("checkpoint-200", 20)},
			Rotation{Limit: 2}, nil,
		},
		"a second decides": {
			[]Dir{at("checkpoint-300", 0), at("checkpoint-200", 0.5), at("checkpoint-100", 1)},
			Rotation{Limit: 2}, []string{"checkpoint-300"},
		},
		"less than a second: by step": {
			[]Dir{at("checkpoint-300", 0), at("checkpoint-200", 0.5), at("checkpoint-100", 0.9)},
			Rotation{Limit: 2}, []string{"checkpoint-100"},
		},
		"numbers, not text": {
			[]Dir{at("checkpoint-1000", 0.3), at("checkpoint-200", 0.2), at("checkpoint-30", 0.1)},
			Rotation{Limit: 1}, []string{"checkpoint-30", "checkpoint-200"},
		},
		"v4: best moves up":       {steps, Rotation{Limit: 2, Best: "checkpoint-100", Rules: RulesV4}, []string{"checkpoint-200"}},
		"v4: limit 1 becomes 2":   {steps, Rotation{Limit: 1, Best: "checkpoint-100", Rules: RulesV4}, []string{"checkpoint-200"}},
		"v4: best is the newest":  {steps, Rotation{Limit: 1, Best: "checkpoint-300", Rules: RulesV4}, []string{"checkpoint-100", "checkpoint-200"}},
		"v4: best elsewhere":      {steps, Rotation{Limit: 2, Best: "/x/checkpoint-100", Rules: RulesV4}, []string{"checkpoint-100"}},
		"v4: nothing over limit":  {steps, Rotation{Limit: 3, Best: "checkpoint-100", Rules: RulesV4}, nil},
		"nothing there":           {nil, Rotation{Limit: 1}, nil},
		"the path has a number":   {[]Dir{at("checkpoint-best", 0), at("checkpoint-7", 0.1)}, Rotation{OutputDir: "checkpoint-5", Limit: 1}, []string{"checkpoint-best"}},
		"a number with text":      {[]Dir{at("checkpoint-9-old", 0), at("checkpoint-10", 0.1)}, Rotation{Limit: 1}, []string{"checkpoint-9-old"}},
		"a tie goes by the name":  {[]Dir{at("checkpoint-b", 0), at("checkpoint-a", 0), at("checkpoint-3", 9)}, Rotation{Limit: 2}, []string{"checkpoint-a"}},
		"best at limit 3 is kept": {append(slices.Clone(steps), at("checkpoint-400", 30)), Rotation{Limit: 3, Best: "checkpoint-100"}, []string{"checkpoint-200"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tt.want, tt.rotation.Deletes(tt.dirs))
		})
	}
	require.Equal(t, []string{"checkpoint-200", "checkpoint-300"}, Rotation{Limit: 1, Best: "x/checkpoint-100"}.AtEnd(steps))
	require.Empty(t, Rotation{Limit: 2, Best: "x/checkpoint-100"}.AtEnd(steps))
	require.Empty(t, Rotation{Limit: 1}.AtEnd(steps))
}

func TestPyPath(t *testing.T) {
	for in, want := range map[string]string{
		"": ".", ".": ".", "./a": "a", "a/": "a", "a//b/./c": "a/b/c", "a/../b": "a/../b",
		"/": "/", "//a": "//a", "///a": "/a", "/a/": "/a",
	} {
		require.Equal(t, want, pyPath(in), in)
	}
}
