package hfconfig

import (
	"compress/flate"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:generate go test -run TestArchive -update .

// archive holds the files of arch/, so that they take little room in a program.
// It begins with an index of lines, up to an empty one:
//
//	chunk BYTES            what follows is in one piece of so many compressed bytes
//	NAME LENGTH TYPE...    a file: bytes of its text, the model types it describes
//
// Then come the chunks, DEFLATE without any framing. One is small enough to be
// read for one file, and large enough for what files have in common to count.
//
//go:embed arch.bin
var archive string

// chunkSize is the text after which a chunk ends.
const chunkSize = 128 << 10

// A packed is a file in the archive.
type packed struct {
	name         string
	first        string // of its model types
	chunk        string // compressed
	start, bytes int    // in the chunk's text
	parse        func() (*Arch, error)
}

var builtinIndex = sync.OnceValue(func() map[string]*packed { return readArchive(archive) })

// readArchive maps each model type to its file, which is parsed on first use.
func readArchive(archive string) map[string]*packed {
	head, body, _ := strings.Cut(archive, "\n\n")
	index := make(map[string]*packed, 1024)
	var chunk string
	start := 0
	for line := range strings.SplitSeq(head, "\n") {
		words := strings.Fields(line)
		n, err := strconv.Atoi(words[1])
		if err != nil {
			panic(err) // the archive is part of the program
		}
		if words[0] == "chunk" {
			chunk, body, start = body[:n], body[n:], 0
			continue
		}
		f := &packed{name: words[0], first: words[2], chunk: chunk, start: start, bytes: n}
		start += n
		f.parse = sync.OnceValues(func() (*Arch, error) {
			a, err := f.read()
			if err != nil {
				return nil, fmt.Errorf("hfconfig: %s: %w", f.name, err)
			}
			return a, nil
		})
		for _, modelType := range words[2:] {
			index[modelType] = f
		}
	}
	return index
}

// eachBuiltin yields the text of every file.
func eachBuiltin(yield func(f *packed, text string)) {
	chunks := make(map[string][]*packed)
	for modelType, f := range builtinIndex() {
		if f.first == modelType {
			chunks[f.chunk] = append(chunks[f.chunk], f)
		}
	}
	for _, files := range chunks {
		slices.SortFunc(files, func(a, b *packed) int { return b.start - a.start })
		last := packed{chunk: files[0].chunk, bytes: files[0].start + files[0].bytes}
		text, err := last.text()
		if err != nil {
			continue // parse says so
		}
		for _, f := range files {
			yield(f, string(text[f.start:f.start+f.bytes]))
		}
	}
}

func (f *packed) text() ([]byte, error) {
	z := flate.NewReader(strings.NewReader(f.chunk))
	if _, err := io.CopyN(io.Discard, z, int64(f.start)); err != nil {
		return nil, err
	}
	text := make([]byte, f.bytes)
	_, err := io.ReadFull(z, text)
	return text, err
}

func (f *packed) read() (*Arch, error) {
	text, err := f.text()
	if err != nil {
		return nil, err
	}
	return ParseArch(text)
}
