package peft

// multitask follows peft 0.21.2 tuners/multitask_prompt_tuning: one prompt, and
// for each task a matrix of low rank that it is multiplied with.
var multitask = method{
	options: map[string]int{"num_virtual_tokens": 0, "num_transformer_submodules": 0, "token_dim": 0, "num_tasks": 1, "num_ranks": 1},
	prompt: func(c *Config) []want {
		tokens, width := c.virtualTokens(), size(c.option("token_dim"), "token_dim")
		tasks, rank := fixed(c.option("num_tasks")), fixed(c.option("num_ranks"))
		return []want{
			{key: "prompt_embeddings", shape: []dim{tokens, width}},
			{key: "prefix_task_cols", shape: []dim{tasks, tokens, rank}},
			{key: "prefix_task_rows", shape: []dim{tasks, rank, width}},
		}
	},
}
