package safetensors

import (
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A shardName is model-00002-of-00004.safetensors taken apart.
type shardName struct {
	stem     string // "model"
	number   int
	total    int
	notation string // stem, total and width: the same for all shards of a set
}

// parseShardName takes the name of a shard apart, of whatever width its numbers are.
func parseShardName(name string) (shardName, bool) {
	rest, ok := strings.CutSuffix(name, ext)
	if !ok {
		return shardName{}, false
	}
	rest, of, ok := cutLast(rest, "-of-")
	if !ok {
		return shardName{}, false
	}
	stem, n, ok := cutLast(rest, "-")
	if !ok || !allDigits(n) || !allDigits(of) {
		return shardName{}, false
	}
	number, err1 := strconv.Atoi(n)
	total, err2 := strconv.Atoi(of)
	return shardName{stem, number, total, stem + "-of-" + of}, err1 == nil && err2 == nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// stemOf returns what the name of a file or index begins with, without its
// variant: "model" of model.fp16-00001-of-00002.safetensors.
func stemOf(name string) string {
	if stem, _, ok := strings.Cut(name, indexExt); ok && strings.HasSuffix(name, ".json") {
		name = stem
	} else if s, ok := parseShardName(name); ok {
		name = s.stem
	} else {
		return strings.TrimSuffix(name, ext)
	}
	stem, _, _ := strings.Cut(name, ".")
	return stem
}

// safeName reports whether an index may name this file: one in the directory of
// the index or below it, on every operating system, that can be printed as it is.
func safeName(name string) bool {
	return fs.ValidPath(name) && name != "." && filepath.IsLocal(name) &&
		!strings.ContainsAny(name, `\:`) && isPrintable(name)
}

// isPrintable reports whether name holds neither control nor formatting
// characters, which could steer a terminal.
func isPrintable(name string) bool {
	return utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}
