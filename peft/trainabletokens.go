package peft

// trainableTokens follows peft 0.21.2 tuners/trainable_tokens/layer.py: rows that
// replace those of an embedding, and of the output embedding tied to it.
var trainableTokens = method{
	prefix: "trainable_tokens_",
	takes:  []kind{embedding, linear},
	targets: func(k *check) {
		k.targets()
		for _, path := range k.fileModules() { // PEFT saves those of tied embeddings too
			_, targeted := k.match.target(path)
			if m := k.view.find(plainPath(path)); m != nil && !targeted && (inputEmbeddings[lastPart(m.path)] || outputEmbeddings[lastPart(m.path)]) {
				k.module(module{path, m.kind, m.in, m.out, m.shape}, path, "")
			}
		}
	},
	read: func(c *Config) {
		const field = "token_indices"
		rows, ok := c.value(field).([]any)
		if !ok {
			c.wrongType(field, "a list of token numbers", c.value(field))
			return
		}
		c.options[field] = len(rows)
	},
	wants: func(l *layer) []want {
		width := dim{sym: "dim"}
		if len(l.shape) == 2 {
			width = fixed(l.shape[1])
		}
		return []want{{key: "trainable_tokens_delta", shape: []dim{size(l.option("token_indices"), "rows"), width}}}
	},
}
