package hfconfig

import "fmt"

// A Kind says what a module does with its weight, and so what its tensors are.
type Kind uint8

// The kinds of modules. Weight shapes are torch's.
const (
	// Linear is nn.Linear: weight [out, in], bias [out].
	Linear Kind = iota
	// Conv1D is transformers' Conv1D, a linear map stored transposed: weight
	// [in, out], bias [out].
	Conv1D
	// Conv is nn.Conv1d/2d/3d: weight [out, in/groups, kernel...], bias [out].
	Conv
	// ConvTranspose is nn.ConvTranspose1d/2d/3d: weight [in, out/groups,
	// kernel...], bias [out]; the schema writes a bias as a row of its own.
	ConvTranspose
	// Embedding is nn.Embedding: weight [entries, dim].
	Embedding
	// Norm is a layer, group or RMS norm: weight [n], bias [n].
	Norm
	// BatchNorm is nn.BatchNorm: weight, bias, running_mean and running_var [n],
	// num_batches_tracked [].
	BatchNorm
	// Param is a parameter that belongs to none of the above, under its full name.
	Param
	// Buffer is a tensor that is saved but not trained, under its full name.
	Buffer

	kindCount
)

// none stands for "there is no such dimension".
const none = -1

var kinds = [kindCount]struct {
	name     string
	suffixes []string // of the tensors of the full shape
	least    int      // dimensions at least
	most     int
	in, out  int // which dimension
	bias     int // which dimension a bias has
}{
	Linear:        {"linear", []string{".weight"}, 2, 2, 1, 0, 0},
	Conv1D:        {"conv1d", []string{".weight"}, 2, 2, 0, 1, 1},
	Conv:          {"conv", []string{".weight"}, 3, 5, 1, 0, 0},
	ConvTranspose: {"convt", []string{".weight"}, 3, 5, 0, 1, none},
	Embedding:     {"embedding", []string{".weight"}, 2, 2, 0, 1, none},
	Norm:          {"norm", []string{".weight"}, 1, 4, none, none, 0},
	BatchNorm:     {"batchnorm", []string{".weight", ".bias", ".running_mean", ".running_var"}, 1, 1, none, none, none},
	Param:         {"param", []string{""}, 0, 8, none, none, none},
	Buffer:        {"buffer", []string{""}, 0, 8, none, none, none},
}

// String returns the word that schemas use: "linear", "conv1d", ...
func (k Kind) String() string {
	if k >= kindCount {
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
	return kinds[k].name
}

func parseKind(s string) (Kind, bool) {
	for k := range kinds {
		if kinds[k].name == s {
			return Kind(k), true
		}
	}
	return 0, false
}
