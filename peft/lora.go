package peft

import (
	"slices"
	"strings"
)

// lora follows peft 0.21.2 tuners/lora/layer.py and dora.py.
var lora = method{
	prefix: "lora_",
	takes:  []kind{linear, conv1d, conv, embedding, attention, parameter, matrix},
	wants:  loraWants,
	extra:  loraExtra,
}

func loraWants(c *Config, m *module, r int, have func(string) []uint64) []want {
	rank, in, out := size(uint64(max(r, 0)), "r"), size(m.in, "in"), size(m.out, "out")
	rank.rank = true
	a, b, magnitude := []dim{rank, in}, []dim{out, rank}, []dim{out}
	switch m.kind {
	case embedding:
		wants := []want{{key: "lora_embedding_A", shape: []dim{rank, in}}, {key: "lora_embedding_B", shape: []dim{out, rank}}}
		if c.DoRA {
			wants = append(wants, want{key: "lora_magnitude_vector", shape: magnitude})
		}
		return wants
	case conv:
		a, b, magnitude = convShapes(m, rank, out, have("lora_A.weight"), have("lora_B.weight"))
	}
	if c.variant("use_bdlora") || c.variant("use_qalora") { // A narrower than in, or B in blocks
		a, b = []dim{anySize, anySize}, []dim{anySize, anySize}
	}
	wants := []want{{key: "lora_A.weight", shape: a}, {key: "lora_B.weight", shape: b}}
	if c.LoRABias {
		wants = append(wants, want{key: "lora_B.bias", shape: []dim{out}})
	}
	if c.DoRA && m.kind != attention && m.kind != parameter {
		wants = append(wants, want{key: "lora_magnitude_vector", shape: magnitude})
	}
	if c.variant("kasa_config") {
		wants = append(wants, want{key: "lora_diag", shape: []dim{rank}})
	}
	return wants
}

// convShapes returns the shapes of A, B and the magnitude for a convolution. The
// base's weight does not show how many groups there are, A and B of the file do:
// A has all input channels, B a rank divided by the groups.
func convShapes(m *module, rank, out dim, haveA, haveB []uint64) (a, b, magnitude []dim) {
	groups := uint64(1)
	switch {
	case m.in > 0 && len(haveA) > 1 && haveA[1] > 0 && haveA[1]%m.in == 0:
		groups = haveA[1] / m.in
	case m.in == 0 && len(haveB) > 1 && haveB[1] > 0 && rank.n > 0 && rank.n%haveB[1] == 0:
		groups = rank.n / haveB[1]
	}
	if rank.n%groups != 0 {
		groups = 1
	}
	part := rank
	part.n /= groups
	a, b, magnitude = []dim{rank, size(m.in*groups, "in")}, []dim{out, part}, []dim{fixed(1), out}
	for i := 2; i < max(len(m.shape), len(haveA)); i++ {
		kernel := anySize
		if i < len(m.shape) {
			kernel = fixed(m.shape[i])
		}
		if m.shape != nil && i >= len(m.shape) {
			break
		}
		a, b, magnitude = append(a, kernel), append(b, fixed(1)), append(magnitude, fixed(1))
	}
	return a, b, magnitude
}

func (c *Config) variant(field string) bool { return slices.Contains(c.Variants, field) }

// loraExtra accepts the state of variants that is not described.
func loraExtra(c *Config, key string) bool {
	return strings.HasPrefix(key, "lora_velora_") && c.variant("velora_config") ||
		strings.HasPrefix(key, "lora_monteclora_") && c.variant("monteclora_config") ||
		strings.HasPrefix(key, "lora_arrow") && c.variant("arrow_config")
}

// attentionParts are the two linear maps of an nn.MultiheadAttention; PEFT
// adapts both.
func attentionParts(m *module) []module {
	outProj := module{path: m.path + ".base_layer.out_proj", kind: linear, in: m.in, out: m.in}
	self := *m
	return []module{self, outProj}
}
