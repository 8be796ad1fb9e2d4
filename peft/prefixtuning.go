package peft

// prefixTuning follows peft 0.21.2 tuners/prefix_tuning and tuners/cartridge: keys
// and values of virtual tokens, for all layers in one row. token_dim is the width
// of a layer's keys, that of a head times the heads for keys.
var prefixTuning = method{
	options: map[string]int{"num_virtual_tokens": 0, "num_layers": 0, "token_dim": 0},
	prompt: func(c *Config) []want {
		return []want{{key: "prompt_embeddings", shape: []dim{size(c.option("num_virtual_tokens"), "tokens"), size(2*c.option("num_layers")*c.option("token_dim"), "2*layers*token_dim")}}}
	},
}
