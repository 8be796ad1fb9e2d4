package safetensors

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"unicode/utf16"
)

// modelNames are the names that the files of one model have.
type modelNames struct {
	single string         // model.safetensors
	shard  string         // model-%05d-of-%05d.safetensors
	index  string         // model.safetensors.index.json
	shards *regexp.Regexp // what shard produces
}

// newModelNames follows transformers 5.23.0, modeling_utils.py, _add_variant and
// save_pretrained.
func newModelNames(stem, variant string) modelNames {
	stem = cmp.Or(stem, "model")
	index := stem + ".safetensors.index"
	if variant != "" {
		stem += "." + variant
		index += "." + variant
	}
	return modelNames{
		single: stem + ".safetensors",
		shard:  stem + "-%05d-of-%05d.safetensors",
		index:  index + ".json",
		shards: regexp.MustCompile("^" + regexp.QuoteMeta(stem) + `-\d{5,}-of-\d{5,}\.safetensors$`),
	}
}

// stale returns the files of a model in dir that are not to be kept, the index
// first, because removing it makes the rest harmless.
func (n modelNames) stale(dir string, keep []string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var stale []string
	for _, e := range entries {
		name := e.Name()
		if (name == n.single || name == n.index || n.shards.MatchString(name)) && !slices.Contains(keep, name) {
			stale = append(stale, name)
		}
	}
	slices.SortStableFunc(stale, func(a, b string) int {
		switch {
		case a == n.index:
			return -1
		case b == n.index:
			return 1
		}
		return 0
	})
	return stale, nil
}

// appendIndex appends the index of the shards as transformers 5.23.0 writes it:
// json.dumps(index, indent=2, sort_keys=True) and a newline. 0 parameters stand
// for the number of all elements.
func appendIndex(dst []byte, shards []shard, parameters uint64) []byte {
	var elements, size uint64
	files := make(map[string]string)
	for _, s := range shards {
		for i := range s.tensors {
			t := &s.tensors[i]
			elements += t.Elements()
			size += t.Bytes()
			files[t.Name] = s.name
		}
	}
	dst = fmt.Appendf(dst, "{\n  \"metadata\": {\n    \"total_parameters\": %d,\n    \"total_size\": %d\n  },\n  \"weight_map\": {",
		cmp.Or(parameters, elements), size)
	for i, name := range slices.Sorted(maps.Keys(files)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, "\n    "...)
		dst = appendPythonString(dst, name)
		dst = append(dst, ": "...)
		dst = appendPythonString(dst, files[name])
	}
	return append(dst, "\n  }\n}\n"...)
}

// appendPythonString appends s as Python's json.dumps does: in ASCII.
func appendPythonString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r >= ' ' && r <= '~':
			dst = append(dst, byte(r))
		case r < ' ' && shortEscape(byte(r)) != 0:
			dst = append(dst, '\\', shortEscape(byte(r)))
		case r < 0x10000:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		default:
			hi, lo := utf16.EncodeRune(r)
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, hi, lo)
		}
	}
	return append(dst, '"')
}
