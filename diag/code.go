package diag

import (
	"fmt"
	"slices"
	"strings"
)

// Severity says how bad a problem is.
type Severity uint8

// The severities, from least to worst.
const (
	Note    Severity = iota // worth knowing; nothing is wrong
	Warning                 // works today, or in most readers, but is not as it should be
	Error                   // the checkpoint cannot be trusted
)

// String returns "note", "warning" or "error".
func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	default:
		return "error"
	}
}

// A Code names one kind of problem: a letter for the group and a number, such
// as "H012". Codes are never reused and never change their meaning.
//
// A Code is an error, so that callers can ask for one kind of problem:
//
//	if errors.Is(err, diag.FileTruncated) { ... }
type Code string

// Error returns the code and its title.
func (c Code) Error() string {
	if info, ok := c.Info(); ok {
		return string(c) + ": " + info.Title
	}
	return string(c)
}

// Info returns the code's entry in the table.
func (c Code) Info() (Info, bool) {
	info, ok := byCode[c]
	return info, ok
}

// Info is a code's entry in the table, which docs/codes.md is generated from.
type Info struct {
	Code     Code
	Severity Severity // what a Problem of this code has unless its maker says otherwise
	Title    string   // "tensor missing"
	Many     string   // what follows a count: "tensors are missing"
	Text     string   // what it means and why it matters
	Example  string   // a message, or what produces it
	Source   string   // what the behaviour follows: project, file, version
}

// groups holds the code table, one entry per letter, each in a file of its own.
var groups = []struct {
	letter, title string
	codes         []Info
}{
	{"F", "Files: what a file is, and whether all of it is there", fileCodes},
	{"H", "Headers: the safetensors format", headerCodes},
	{"I", "Indexes and shards", indexCodes},
	{"M", "Models: tensors held against config.json", modelCodes},
	{"A", "Adapters: tensors held against adapter_config.json and a base", adapterCodes},
	{"C", "Checkpoint directories and training state", checkpointCodes},
	{"R", "Runs: the checkpoints of one training run together", runCodes},
	{"V", "Values", valueCodes},
	{"N", "Hints: allowed, but trouble for some", hintCodes},
	{"Z", "ZeRO and FSDP shards, and merging them", zeroCodes},
}

var byCode = func() map[Code]Info {
	m := make(map[Code]Info)
	for _, g := range groups {
		for _, info := range g.codes {
			if _, dup := m[info.Code]; dup || !strings.HasPrefix(string(info.Code), g.letter) {
				panic("diag: code " + string(info.Code) + " twice, or in the wrong group")
			}
			m[info.Code] = info
		}
	}
	return m
}()

// Codes returns the whole table, ordered by group and number.
func Codes() []Info {
	var all []Info
	for _, g := range groups {
		part := slices.Clone(g.codes)
		slices.SortFunc(part, func(a, b Info) int { return strings.Compare(string(a.Code), string(b.Code)) })
		all = append(all, part...)
	}
	return all
}

// Markdown renders the table as docs/codes.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# Diagnostic codes\n\nGenerated from the table in `diag` by `go test ./diag -update`; do not edit.\n" +
		"Codes are never reused, and what one means never changes.\n")
	for _, g := range groups {
		fmt.Fprintf(&b, "\n## %s: %s\n", g.letter, g.title)
		for _, info := range Codes() {
			if !strings.HasPrefix(string(info.Code), g.letter) {
				continue
			}
			fmt.Fprintf(&b, "\n### %s: %s (%s)\n\n%s\n", string(info.Code), info.Title, info.Severity, info.Text)
			if info.Example != "" {
				fmt.Fprintf(&b, "\n    %s\n", info.Example)
			}
			if info.Source != "" {
				fmt.Fprintf(&b, "\nFollows: %s.\n", info.Source)
			}
		}
	}
	return b.String()
}
