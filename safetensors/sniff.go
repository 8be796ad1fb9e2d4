package safetensors

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/jsonscan"
)

// Sniff tells what a file that should hold weights really is, from its first
// bytes (some hundred are enough, 64 KiB are better) and its size. It returns nil
// if they could be those of a safetensors file or are not known.
//
// The problem's code names the kind: diag.FileEmpty, FileLFSPointer, FileHTML,
// FileXML, FileJSON, FileZip, FilePickle, FileGGUF, FileZeros or FileOther. Its
// File is not set. Callers for whom one of these is right, such as a zip archive
// under the name optimizer.pt, go by the code.
func Sniff(head []byte, size int64) *diag.Problem {
	if plausible(head, size) {
		return nil
	}
	for _, kind := range [...]func([]byte, int64) *diag.Problem{
		sniffEmpty, sniffPointer, sniffMarkup, sniffZip, sniffPickle, sniffMagic, sniffJSON, sniffText,
	} {
		if p := kind(head, size); p != nil {
			return p
		}
	}
	return nil
}

// plausible reports whether head begins like a safetensors file of size bytes.
func plausible(head []byte, size int64) bool {
	if len(head) < 10 || head[8] != '{' {
		return false
	}
	n := binary.LittleEndian.Uint64(head)
	return n <= MaxHeaderBytes && int64(n) <= size-8
}

func sniffed(c diag.Code, cause, fix, format string, args ...any) *diag.Problem {
	p := diag.New(c, format, args...)
	p.Cause, p.Fix = cause, fix
	return &p
}

const again = "download the file again, e.g. hf download REPO FILE"

func sniffEmpty(head []byte, size int64) *diag.Problem {
	switch {
	case size == 0:
		return sniffed(diag.FileEmpty, "a save that was killed, a full disk, or a download that never began",
			"get the file again, or use the checkpoint before it", "the file is empty, want weights")
	case len(head) >= 8 && len(bytes.TrimLeft(head, "\x00")) == 0:
		p := zeros(fmt.Sprintf("the first %d of %d bytes are all zero", len(head), size))
		return &p
	}
	return nil
}

func zeros(what string) diag.Problem {
	p := diag.New(diag.FileZeros, "%s, want a header", what)
	p.Cause = "space was allocated for the file but never written: a crash, a full disk, or a download that was preallocated and did not run"
	p.Fix = "get the file again; if it was saved here, use the checkpoint before it"
	return p
}

// sniffPointer knows the small texts that stand for a file that is elsewhere.
func sniffPointer(head []byte, size int64) *diag.Problem {
	const lfs = "version https://git-lfs.github.com/spec/"
	switch text := string(head[:min(len(head), 1024)]); {
	case strings.HasPrefix(text, lfs) || strings.HasPrefix(text, "version https://hawser.github.com/spec/"):
		var oid, want string
		for line := range strings.Lines(text) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			switch key {
			case "oid":
				oid = strings.ReplaceAll(value, ":", " ")
			case "size":
				if n, err := strconv.ParseUint(value, 10, 64); err == nil {
					want = diag.Size(n)
				}
			}
		}
		p := sniffed(diag.FileLFSPointer, "the repository was cloned without Git LFS, which leaves this text in place of the file",
			"git lfs install && git lfs pull", "%d-byte Git LFS pointer, not weights (wants %s, %s)", size, diag.Name(oid), want)
		p.Want = diag.Name(oid) + ", " + want
		return p
	case size < 1024 && (strings.Contains(text, "/annex/objects/") || strings.Contains(text, ".git/annex/")):
		return sniffed(diag.FileOther, "the repository keeps its large files with git-annex", "git annex get FILE",
			"%d-byte git-annex pointer, not weights", size)
	case strings.HasPrefix(text, "# xet version"):
		return sniffed(diag.FileOther, "the repository was cloned without git-xet", again, "%d-byte Xet pointer, not weights", size)
	}
	return nil
}

// sniffMarkup knows web pages and the XML of object stores.
func sniffMarkup(head []byte, size int64) *diag.Problem {
	text := textStart(head)
	if text == "" || text[0] != '<' {
		return nil
	}
	lower := strings.ToLower(text[:min(len(text), 4096)])
	page := false
	for _, tag := range [...]string{"<!doctype html", "<html", "<head", "<body", "<title", "<script", "<div", "<h1", "<p>", "<center"} {
		page = page || strings.HasPrefix(lower, tag)
	}
	if page || strings.HasPrefix(lower, "<?xml") && strings.Contains(lower, "<html") || strings.HasPrefix(lower, "<!--") && strings.Contains(lower, "<html") {
		return sniffed(diag.FileHTML, "the download was answered by a page (login, licence, rate limit, error), and the page was saved as the file",
			"log in or accept the licence on the model's page, then "+again, "%d-byte web page%s, not weights", size, titled(text, "title"))
	}
	code := titled(text, "Code")
	if !strings.HasPrefix(lower, "<?xml") && code == "" && !strings.HasPrefix(lower, "<error") {
		return nil
	}
	return sniffed(diag.FileXML, "an object store (S3, GCS, Azure) answered with an error, which was saved as the file",
		"check the address, its expiry and your credentials, then download again", "%d-byte XML%s, not weights", size, titled(text, "Message")+code)
}

// titled returns what an element of the page says, in quotes.
func titled(text, tag string) string {
	for _, t := range [...]string{tag, strings.ToUpper(tag)} {
		if _, rest, ok := strings.Cut(text, "<"+t+">"); ok {
			if inner, _, ok := strings.Cut(rest, "</"); ok && inner != "" {
				return ` "` + snippet(inner) + `"`
			}
		}
	}
	return ""
}

// snippet makes the beginning of a text safe to print.
func snippet(s string) string {
	s = strings.TrimSpace(s)
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s[:min(len(s), 100)])
}

// textStart returns head as text without leading blanks and byte order mark.
func textStart(head []byte) string {
	return strings.TrimLeft(strings.TrimPrefix(string(head[:min(len(head), 8192)]), "\ufeff"), " \t\r\n")
}

// sniffZip knows zip archives, by the names of their first members.
func sniffZip(head []byte, _ int64) *diag.Problem {
	if !bytes.HasPrefix(head, []byte("PK\x03\x04")) && !bytes.HasPrefix(head, []byte("PK\x05\x06")) {
		return nil
	}
	has := func(s string) bool { return bytes.Contains(head, []byte(s)) }
	switch {
	case has("data.pkl") || has("/byteorder") || has("constants.pkl"):
		return sniffed(diag.FileZip, "a torch.save file was renamed, not converted", torchFix, "torch.save archive (zip), not safetensors")
	case has(".npy"):
		return sniffed(diag.FileZip, "a numpy.savez file was renamed, not converted",
			"in Python: safetensors.numpy.save_file(dict(numpy.load(FILE)), OUT)", "numpy archive (npz), not safetensors")
	case has("model.weights.h5"):
		return sniffed(diag.FileZip, "a Keras file was renamed, not converted", "export the weights from Keras", "Keras archive (zip), not safetensors")
	}
	return sniffed(diag.FileZip, "an archive was saved under this name", "unpack it: unzip FILE", "zip archive, not safetensors")
}

const torchFix = "in Python, if you trust its source: safetensors.torch.save_file(torch.load(FILE, weights_only=True), OUT)"

// sniffPickle knows the protocol marks of pickles, and of torch.save before 1.6.
func sniffPickle(head []byte, _ int64) *diag.Problem {
	const legacy = "\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
	switch {
	case bytes.HasPrefix(head, []byte(legacy)):
		return sniffed(diag.FilePickle, "a torch.save file in the format before PyTorch 1.6 was renamed, not converted", torchFix, "legacy torch.save file (pickle), not safetensors")
	case len(head) > 2 && head[0] == 0x80 && 2 <= head[1] && head[1] <= 5 && bytes.IndexByte([]byte("}](c\x95K\x8aX\x8cN)"), head[2]) >= 0:
		return sniffed(diag.FilePickle, "a Python pickle was renamed, not converted", torchFix, "Python pickle, not safetensors")
	}
	return nil
}

// magics holds formats known by fixed bytes.
var magics = []struct {
	at          int
	magic, name string
	fix         string
}{
	{0, "\x1f\x8b", "gzip archive", "unpack it: gunzip FILE"},
	{0, "\x28\xb5\x2f\xfd", "zstd archive", "unpack it: unzstd FILE"},
	{0, "\xfd7zXZ\x00", "xz archive", "unpack it: unxz FILE"},
	{0, "BZh", "bzip2 archive", "unpack it: bunzip2 FILE"},
	{0, "\x04\x22\x4d\x18", "lz4 archive", "unpack it: unlz4 FILE"},
	{0, "7z\xbc\xaf\x27\x1c", "7-Zip archive", "unpack it: 7z x FILE"},
	{0, "Rar!\x1a\x07", "RAR archive", "unpack it"},
	{257, "ustar", "tar archive", "unpack it: tar xf FILE"},
	{0, "\x89HDF\r\n\x1a\n", "HDF5 file (Keras, h5py)", "export the weights from the framework that wrote it"},
	{0, "\x93NUMPY", "numpy array (npy)", "in Python: safetensors.numpy.save_file({NAME: numpy.load(FILE)}, OUT)"},
	{4, "TFL3", "TensorFlow Lite model", "export the weights from the framework that wrote it"},
	{0, "ggml", "GGML model", ggmlFix}, {0, "lmgg", "GGML model", ggmlFix}, {0, "tjgg", "GGML model", ggmlFix}, {0, "fmgg", "GGML model", ggmlFix},
	{0, "PAR1", "Parquet file", "this is a data set, not weights: get the right file"},
	{0, "ARROW1", "Arrow file", "this is a data set, not weights: get the right file"},
	{0, "SQLite format 3\x00", "SQLite database", "get the right file"},
	{0, "%PDF-", "PDF document", "get the right file"},
	{0, "\x89PNG\r\n", "PNG image", "get the right file"},
	{0, "\xff\xd8\xff", "JPEG image", "get the right file"},
	{0, "\x7fELF", "ELF program", "get the right file"},
	{0, "MZ\x90\x00", "Windows program", "get the right file"},
}

const ggmlFix = "get the model in the safetensors format; llama.cpp's files cannot be trained on"

func sniffMagic(head []byte, _ int64) *diag.Problem {
	if bytes.HasPrefix(head, []byte("GGUF")) {
		return sniffed(diag.FileGGUF, "a llama.cpp model was renamed, not converted", ggmlFix, "GGUF model, not safetensors")
	}
	for _, m := range magics {
		if len(head) >= m.at && bytes.HasPrefix(head[m.at:], []byte(m.magic)) {
			return sniffed(diag.FileOther, "another kind of file was saved or renamed to this name", m.fix, "%s, not safetensors", m.name)
		}
	}
	// An ONNX file is a protobuf that begins with ir_version and the producer's name.
	if len(head) > 4 && head[0] == 0x08 && head[1] < 0x20 && head[2] == 0x12 && int(head[3]) < len(head)-4 && head[3] > 0 && isText(head[4:4+head[3]]) {
		return sniffed(diag.FileOther, "an ONNX model was renamed, not converted", "export the weights from the framework that wrote it",
			"ONNX model by %s, not safetensors", diag.Name(string(head[4:4+head[3]])))
	}
	return nil
}

// sniffJSON knows bare JSON, and what kind of it is common.
func sniffJSON(head []byte, size int64) *diag.Problem {
	text := textStart(head)
	if len(text) < 2 || text[0] != '{' && text[0] != '[' || !isText([]byte(text)) {
		return nil
	}
	if c := text[1]; c != '"' && c != '}' && c != '{' && c != ']' && !jsonscan.IsBlank(c) {
		return nil
	}
	has := func(s string) bool { return strings.Contains(text, s) }
	cause, fix := "an answer of a web service, or another file of the model, was saved under this name", again
	switch {
	case has(`"weight_map"`):
		cause, fix = "the index of a sharded model was saved under the name of a shard", "give it its own name back, ending in .safetensors.index.json, and get the shard"
	case has(`"data_offsets"`):
		cause, fix = "this is a safetensors header without the 8 bytes of its length before it", "correct the program that wrote the file"
	case has(`"error"`) || has(`"message"`):
		cause = "a web service answered with an error, which was saved as the file"
	}
	line, _, _ := strings.Cut(text, "\n")
	return sniffed(diag.FileJSON, cause, fix, "%s of JSON, not weights: %s", diag.Count(size, "byte"), snippet(line))
}

// sniffText knows plain text, such as the body of an HTTP error.
func sniffText(head []byte, size int64) *diag.Problem {
	if size < 3 || !isText(head) {
		return nil
	}
	line, _, _ := strings.Cut(textStart(head), "\n")
	return sniffed(diag.FileOther, "a web service's error, a script's output or notes were saved under this name", again,
		"%s of text, not weights: %s", diag.Count(size, "byte"), snippet(line))
}

// isText reports whether b is printable UTF-8, but for a rune cut at its end.
func isText(b []byte) bool {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return !utf8.FullRune(b[i:])
		}
		if !unicode.IsPrint(r) && !unicode.IsSpace(r) && r != '\ufeff' {
			return false
		}
		i += n
	}
	return true
}
