package peft

// mergeTokens follows peft 0.21.2 tuners/trainable_tokens/layer.py: rows are
// replaced.
func mergeTokens(p *mergePlan, l *layer) {
	if len(p.check.modules[l.path]) == 0 {
		return // tied to the one that has them
	}
	f, ok := p.tensors(l, "trainable_tokens_delta")
	if !ok {
		return
	}
	rows, _ := p.check.c.value("token_indices").([]any)
	p.edit(p.weight(l), &rowsEdit{ids: tokenIDs(rows), from: f[0]})
}
