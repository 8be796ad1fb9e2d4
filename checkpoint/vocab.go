package checkpoint

import (
	"encoding/json"

	"github.com/safeckpt/safeckpt/internal/pyjson"
)

// vocabSize returns the number of entries of the tokenizer that lies beside the
// weights: one more than the highest id in tokenizer.json, vocab.json or
// added_tokens.json. It is 0 if there is none that can be read.
func (c *Checkpoint) vocabSize() uint64 {
	var tokenizer struct {
		AddedTokens []struct {
			ID uint64 `json:"id"`
		} `json:"added_tokens"`
		Model struct {
			// A map of tokens to ids, or for Unigram models a list of them.
			Vocab json.RawMessage `json:"vocab"`
		} `json:"model"`
	}
	size := uint64(0)
	grow := func(id uint64) { size = max(size, id+1) }
	vocab := func(text []byte) {
		var ids map[string]uint64
		var list []json.RawMessage
		if json.Unmarshal(text, &ids) == nil {
			for _, id := range ids {
				grow(id)
			}
		} else if json.Unmarshal(text, &list) == nil {
			size = max(size, uint64(len(list)))
		}
	}
	if text, err := c.readText("tokenizer.json"); err == nil {
		if _, err := pyjson.Unmarshal(text, &tokenizer); err == nil {
			vocab(tokenizer.Model.Vocab)
			for _, t := range tokenizer.AddedTokens {
				grow(t.ID)
			}
		}
	}
	for _, name := range []string{"vocab.json", "added_tokens.json"} {
		if text, err := c.readText(name); err == nil {
			vocab(text)
		}
	}
	return size
}
