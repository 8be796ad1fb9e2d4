package checkpoint

import (
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/pyjson"
)

// judgedElsewhere are JSON files that checks of their own read.
var judgedElsewhere = []string{configFile, adapterConfigFile, trainerStateFile}

// checkTexts parses the JSON files beside the weights: a cut tokenizer.json
// fails as late as the first request.
func checkTexts(v *validation) error {
	if v.c.files == nil {
		return nil
	}
	for _, name := range sortedKeys(v.c.files.files) {
		if !strings.HasSuffix(name, ".json") || strings.HasSuffix(name, ".safetensors.index.json") || slices.Contains(judgedElsewhere, name) {
			continue
		}
		if v.c.files.files[name] != nil {
			continue // checkLeftovers says so
		}
		if err := v.ctx.Err(); err != nil {
			return err
		}
		text, err := v.c.readText(name)
		if v.notAFile(name, err) {
			continue
		}
		var dups []pyjson.Duplicate
		if err == nil {
			dups, err = pyjson.Check(text)
		}
		if err != nil {
			p := diag.New(diag.JSONInvalid, "not the JSON that it should be: %v", err)
			p.File, p.Want, p.Got = name, "JSON", err.Error()
			p.Cause, p.Fix = "the file was cut, edited by hand, or is a Git LFS pointer or an error page", "copy or download "+diag.Name(name)+" again"
			v.add(p)
		}
		for _, d := range dups {
			p := diag.New(diag.DuplicateName, "the name %s is there twice in one object", diag.Name(d.Name))
			p.File, p.Offset = name, diag.At(d.Offset)
			p.Cause, p.Fix = "the file was edited by hand or by a faulty tool", "keep one of the two: Python takes the last"
			v.add(p)
		}
	}
	return nil
}
