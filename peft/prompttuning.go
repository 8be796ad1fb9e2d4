package peft

// promptTuning follows peft 0.21.2 tuners/prompt_tuning and tuners/p_tuning:
// embeddings of virtual tokens, for the encoder and the decoder if there are both.
// What computed them in training is not saved.
var promptTuning = method{
	options: map[string]int{"num_virtual_tokens": 0, "num_transformer_submodules": 0, "token_dim": 0},
	prompt: func(c *Config) []want {
		return []want{{key: "prompt_embeddings", shape: []dim{c.virtualTokens(), size(c.option("token_dim"), "token_dim")}}}
	},
}

func (c *Config) option(field string) uint64 { return uint64(max(c.options[field], 0)) }

// virtualTokens is the number of embeddings of a prompt.
func (c *Config) virtualTokens() dim {
	return size(c.option("num_virtual_tokens")*c.option("num_transformer_submodules"), "tokens")
}
