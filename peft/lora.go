package peft

import (
	"slices"
	"strings"
)

// lora follows peft 0.21.2 tuners/lora/layer.py and dora.py.
var lora = method{
	prefix: "lora_",
	idle:   []string{"lora_B.weight", "lora_embedding_B"},
	takes:  []kind{linear, conv1d, conv, embedding, attention, parameter},
	rank:   number{field: "r", absent: 8, least: 1, pattern: "rank_pattern"},
	alpha:  number{field: "lora_alpha", absent: 8, pattern: "alpha_pattern"},
	wants:  loraWants,
	extra:  loraExtra,
}

func loraWants(l *layer) []want {
	c, rank, in, out := l.c, l.r(), l.input(), l.output()
	a, b, magnitude := []dim{rank, in}, []dim{out, rank}, []dim{out}
	switch l.kind {
	case embedding:
		wants := l.pair("lora_embedding_A", "lora_embedding_B")
		if c.DoRA {
			wants = append(wants, magnitudeOf(magnitude))
		}
		return wants
	case conv:
		a, b, magnitude = convShapes(&l.module, rank, out, l.have("lora_A.weight"), l.have("lora_B.weight"))
	}
	if c.variant("use_bdlora") || c.variant("use_qalora") { // A narrower than in, or B in blocks
		a, b = []dim{anySize, anySize}, []dim{anySize, anySize}
	}
	wants := []want{{key: "lora_A.weight", shape: a}, {key: "lora_B.weight", shape: b}}
	if c.LoRABias {
		wants = append(wants, want{key: "lora_B.bias", shape: []dim{out}})
	}
	if c.DoRA && l.kind != attention && l.kind != parameter {
		wants = append(wants, magnitudeOf(magnitude))
	}
	if c.variant("kasa_config") {
		wants = append(wants, want{key: "lora_diag", shape: []dim{rank}})
	}
	return wants
}

func magnitudeOf(shape []dim) want {
	return want{key: "lora_magnitude_vector", shape: shape, lack: "use_dora is true, so each module has a magnitude; PEFT would take the norm of the base's weight instead"}
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
