package peft

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/safeckpt/safeckpt/internal/jsonscan"
)

// untieConfig returns config.json with tie_word_embeddings false, at the top and in
// the configs of parts of the model that say true. Everything else stays as it is,
// byte by byte.
func untieConfig(text []byte) ([]byte, error) {
	const field = "tie_word_embeddings"
	type change struct {
		from, to int
		text     string
	}
	var changes []change
	s := jsonscan.New(text)
	var object func(depth int) error
	object = func(depth int) error {
		start := s.Offset()
		if err := s.Enter(); err != nil {
			return err
		}
		found, members := false, false
		for {
			name, ok, err := s.NextName()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			members = true
			at := s.Offset()
			switch kind := s.Kind(); {
			case name == field:
				if err := s.Skip(); err != nil {
					return err
				}
				end := at + len(bytes.TrimRight(text[at:s.Offset()], " \t\r\n"))
				if found = true; string(text[at:end]) != "false" && (depth == 0 || kind == jsonscan.Bool) {
					changes = append(changes, change{at, end, "false"})
				}
			case kind == jsonscan.Object && depth == 0:
				if err := object(depth + 1); err != nil {
					return err
				}
			default:
				if err := s.Skip(); err != nil {
					return err
				}
			}
		}
		if depth == 0 && !found {
			entry := "\n  \"" + field + "\": false"
			if members {
				entry += ","
			}
			changes = append(changes, change{start + 1, start + 1, entry})
		}
		return nil
	}
	if s.Kind() != jsonscan.Object {
		return nil, errors.New("peft: config.json is no object")
	}
	if err := object(0); err != nil {
		return nil, fmt.Errorf("peft: config.json: %w", err)
	}
	slices.SortFunc(changes, func(a, b change) int { return b.from - a.from })
	out := slices.Clone(text)
	for _, c := range changes {
		out = slices.Replace(out, c.from, c.to, []byte(c.text)...)
	}
	return out, nil
}
