package safetensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/pyjson"
	"github.com/safeckpt/safeckpt/internal/regular"
	"github.com/safeckpt/safeckpt/internal/shell"
)

// An index is the decoded *.safetensors.index.json of a sharded model.
type index struct {
	weightMap map[string]string
	metadata  map[string]any
	files     []string // that weightMap names, sorted, safe ones only
}

func (ix *index) names(file string) bool {
	_, ok := slices.BinarySearch(ix.files, file)
	return ok
}

// readIndex reads an index. What is wrong with it goes to the report; nil means
// that it is of no use at all.
func readIndex(fsys fs.FS, name string, report *diag.Report) *index {
	text, err := readSmall(fsys, name, maxIndexBytes)
	if err != nil {
		report.Add(unreadable(name, err))
		return nil
	}
	ix := parseIndex(text, func(p diag.Problem) {
		p.File = name
		report.Add(p)
	})
	return ix
}

// Limits on an index. The largest known, with 91,000 tensors, has 9 MB; its
// metadata is a number or two.
const (
	maxIndexBytes    = 64 << 20
	maxMetadataBytes = 1 << 20
)

// readSmall reads a file of at most limit bytes.
func readSmall(fsys fs.FS, name string, limit int64) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if err := regular.Check(name, info); err != nil {
		return nil, err
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return data, err
}

func unreadable(name string, err error) diag.Problem {
	if p, ok := regular.Problem(name, err); ok {
		return p
	}
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err // the path may be of a stranger's making
	}
	p := diag.New(diag.FileUnreadable, "%s cannot be read: %v", diag.Name(name), err)
	p.File = name
	p.Cause = "missing permission, a failing disk or a network filesystem that is gone"
	p.Fix = "ls -l " + shell.Arg(name)
	return p
}

const (
	badIndexCause = "the index was cut, edited by hand, or is another kind of file"
	badIndexFix   = "get the index again, or save the model again"
)

// parseIndex decodes the text of an index.
func parseIndex(text []byte, add func(diag.Problem)) *index {
	// Values are decoded only where strings and numbers are wanted: a tree of all
	// that a hostile index holds takes up to 65 times the text.
	var root json.RawMessage
	dups, err := pyjson.Unmarshal(text, &root)
	for _, dup := range dups {
		p := diag.New(diag.IndexDuplicate, "%s is twice in the index; the last one counts", diag.Name(dup.Name))
		p.Offset = diag.At(dup.Offset)
		p.Cause, p.Fix = "two indexes were joined, or the index was edited by hand", badIndexFix
		add(p)
	}
	invalid := func(format string, args ...any) *index {
		p := diag.New(diag.IndexInvalid, format, args...)
		p.Cause, p.Fix = badIndexCause, badIndexFix
		add(p)
		return nil
	}
	if err != nil {
		if p := Sniff(text, int64(len(text))); p != nil && p.Code != diag.FileJSON && p.Code != diag.FileOther {
			add(*p)
			return nil
		}
		p := diag.New(diag.IndexInvalid, "the index is no valid JSON: %v", err)
		if syntax := (*pyjson.SyntaxError)(nil); errors.As(err, &syntax) {
			p.Offset = diag.At(syntax.Offset)
		}
		p.Cause, p.Fix = badIndexCause, badIndexFix
		add(p)
		return nil
	}
	object, ok := jsonObject(root)
	if !ok {
		return invalid("the index is %s, want an object with a weight_map", jsonKind(root))
	}
	entries, ok := jsonObject(object["weight_map"])
	if !ok {
		return invalid("weight_map of the index is %s, want an object of tensor names to file names", jsonKind(object["weight_map"]))
	}
	if len(entries) == 0 {
		return invalid("weight_map of the index is empty, want an entry for each tensor")
	}
	ix := &index{weightMap: make(map[string]string, len(entries))}
	if v, ok := object["metadata"]; ok && len(v) > maxMetadataBytes {
		invalid("metadata of the index takes %d bytes, want at most %d", len(v), maxMetadataBytes)
	} else if ok && string(v) != "null" {
		tree, _, _ := pyjson.Parse(v) // it has been parsed before
		if ix.metadata, ok = tree.(map[string]any); !ok {
			invalid("metadata of the index is %s, want an object", jsonKind(v))
		}
	}
	unsafe := make(map[string]int)
	files := make(map[string]bool)
	for _, tensor := range slices.Sorted(maps.Keys(entries)) {
		file, ok := jsonString(entries[tensor])
		switch {
		case !ok:
			p := diag.New(diag.IndexInvalid, "weight_map gives %s as the file of %s, want a string", jsonKind(entries[tensor]), diag.Name(tensor))
			p.Tensor, p.Cause, p.Fix = tensor, badIndexCause, badIndexFix
			add(p)
			continue
		case !safeName(file):
			unsafe[file]++
			continue
		}
		ix.weightMap[tensor] = file
		files[file] = true
	}
	for _, file := range slices.Sorted(maps.Keys(unsafe)) {
		p := diag.New(diag.IndexUnsafeName, "the index names %s for %s, want a file in its own directory", quoted(file), diag.Count(unsafe[file], "tensor"))
		p.Cause = "a broken tool, or an attempt to make a reader open other files of this machine"
		p.Fix = "do not use this checkpoint unless you know how the name came about"
		add(p)
	}
	ix.files = slices.Sorted(maps.Keys(files))
	return ix
}

// jsonObject decodes one level of an object.
func jsonObject(raw json.RawMessage) (object map[string]json.RawMessage, ok bool) {
	if jsonKind(raw) != "an object" {
		return nil, false
	}
	return object, json.Unmarshal(raw, &object) == nil
}

func jsonString(raw json.RawMessage) (s string, ok bool) {
	if jsonKind(raw) != "a string" {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}

// jsonKind names the kind of a value that pyjson.Unmarshal has accepted.
func jsonKind(raw json.RawMessage) string {
	switch {
	case len(raw) == 0:
		return "absent"
	case pyjson.IsLiteral(raw):
		return "a number"
	case raw[0] == 'n':
		return "null"
	case raw[0] == 't', raw[0] == 'f':
		return "a boolean"
	case raw[0] == '"':
		return "a string"
	case raw[0] == '[':
		return "an array"
	case raw[0] == '{':
		return "an object"
	}
	return "a number"
}
