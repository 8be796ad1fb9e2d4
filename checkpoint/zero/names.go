package zero

import (
	"cmp"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
)

// The names that DeepSpeed 0.19.8 gives to files of a tag, runtime/engine.py and
// runtime/pipe/module.py. The "pp_rank" in them is the data-parallel rank.
var (
	optimName  = regexp.MustCompile(`^(?:bf16_|fp16_)?zero_pp_rank_(\d+)_mp_rank_(\d+)_?optim_states\.pt$`)
	modelName  = regexp.MustCompile(`^mp_rank_(\d+)_model_states\.pt$`)
	model3Name = regexp.MustCompile(`^zero_pp_rank_(\d+)_mp_rank_(\d+)_model_states\.pt$`)
	layerName  = regexp.MustCompile(`^layer_(\d+)(?:-model_(\d+))?-model_states\.pt$`)
	expertName = regexp.MustCompile(`^layer_(-?\d+)_expert_(\d+)_mp_rank_(\d+)_model_states\.pt$`)
)

// universalDir is where a universal checkpoint has its parameters.
const universalDir = "zero"

// A rankName is a file whose name has a data-parallel and a model-parallel rank.
type rankName struct {
	name     string
	rank, mp int
}

// A tagListing is a tag directory, its files told apart by their names.
type tagListing struct {
	optim     []rankName // by mp, then rank
	model3    []rankName // stage 3: one for each rank
	model     []rankName // stages 0 to 2: one for each mp rank; rank is -1
	layers    []rankName // pipeline: rank is the layer, mp the tensor-parallel rank
	experts   []rankName // rank is the expert
	universal bool
}

func listTag(fsys fs.FS, dir string) (*tagListing, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, err
	}
	l := &tagListing{}
	for _, e := range entries {
		name := e.Name()
		number := func(s string) int {
			n, err := strconv.ParseInt(cmp.Or(s, "0"), 10, 32)
			if err != nil {
				return 1<<31 - 1 // the file is then one rank too many
			}
			return int(n)
		}
		if m := optimName.FindStringSubmatch(name); m != nil {
			l.optim = append(l.optim, rankName{name, number(m[1]), number(m[2])})
		} else if m := model3Name.FindStringSubmatch(name); m != nil {
			l.model3 = append(l.model3, rankName{name, number(m[1]), number(m[2])})
		} else if m := modelName.FindStringSubmatch(name); m != nil {
			l.model = append(l.model, rankName{name, -1, number(m[1])})
		} else if m := layerName.FindStringSubmatch(name); m != nil {
			l.layers = append(l.layers, rankName{name, number(m[1]), number(m[2])})
		} else if m := expertName.FindStringSubmatch(name); m != nil {
			l.experts = append(l.experts, rankName{name, number(m[2]), number(m[3])})
		} else if name == universalDir && e.IsDir() {
			l.universal = true
		}
	}
	for _, list := range [][]rankName{l.optim, l.model3, l.model, l.layers, l.experts} {
		slices.SortFunc(list, func(a, b rankName) int {
			return cmp.Or(a.mp-b.mp, cmp.Compare(a.rank, b.rank), cmp.Compare(a.name, b.name))
		})
	}
	return l, nil
}

// any reports whether the directory holds a checkpoint of DeepSpeed.
func (l *tagListing) any() bool {
	return len(l.optim) > 0 || len(l.model3) > 0 || len(l.model) > 0 || l.universal
}

// mps returns the model-parallel ranks that have files.
func (l *tagListing) mps() []int {
	seen := make(map[int]bool)
	for _, list := range [][]rankName{l.optim, l.model3, l.model} {
		for _, f := range list {
			seen[f.mp] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// of returns the files of one model-parallel rank.
func of(list []rankName, mp int) []rankName {
	var files []rankName
	for _, f := range list {
		if f.mp == mp {
			files = append(files, f)
		}
	}
	return files
}
