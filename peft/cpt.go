package peft

// cpt follows peft 0.21.2 tuners/cpt: embeddings that start from the tokens of a
// context.
var cpt = method{
	options: map[string]int{"token_dim": 0},
	read: func(c *Config) {
		const field = "cpt_token_ids"
		tokens, ok := c.value(field).([]any)
		if !ok && !c.isNull(field) {
			c.wrongType(field, "a list of token numbers", c.value(field))
		}
		c.options[field] = max(len(tokens), 1) // PEFT takes [0] where there are none
	},
	prompt: func(c *Config) []want {
		return []want{{key: "prompt_embeddings", shape: []dim{fixed(c.option("cpt_token_ids")), size(c.option("token_dim"), "token_dim")}}}
	},
}
