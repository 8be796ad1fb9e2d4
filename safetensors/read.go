package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/jsonscan"
)

const (
	// guess is how much of a file the first read fetches: most headers fit.
	guess = 64 << 10
	// trust is how much is allocated on a header's own word about its length.
	trust = 1 << 20
)

// readHeader reads and decodes the header of a file of size bytes. The error says
// that it could not be read, the report what is wrong with it. The header is nil
// if there is nothing that could be decoded.
func readHeader(r io.ReaderAt, name string, size int64, limits Limits) (*Header, *diag.Report, error) {
	report := &diag.Report{}
	if size < 0 {
		return nil, nil, fmt.Errorf("safetensors: negative size %d", size)
	}
	head := make([]byte, min(size, guess))
	if err := readFull(r, head, 0); err != nil {
		return nil, nil, err
	}
	add := func(p *diag.Problem) (*Header, *diag.Report, error) {
		p.File = name
		report.Add(*p)
		return nil, report, nil
	}
	if len(head) < 8 {
		if p := Sniff(head, size); p != nil {
			return add(p)
		}
		p := diag.New(diag.FileTooShort, "the file has %s, a header length alone takes 8", diag.Count(size, "byte"))
		p.Offset = diag.At(size)
		p.Cause, p.Fix = cutCause, cutFix
		return add(&p)
	}
	n := binary.LittleEndian.Uint64(head)
	if p := lengthProblem(n, head, size, limits); p != nil {
		return add(p)
	}
	text, err := readText(r, head, int64(n))
	if err != nil {
		return nil, nil, err
	}
	if n == 0 || text[0] != '{' && !jsonscan.IsBlank(text[0]) {
		if p := Sniff(head, size); p != nil {
			return add(p)
		}
		if n > 0 && len(bytes.TrimLeft(text, "\x00")) == 0 {
			p := zeros(fmt.Sprintf("the %d bytes of the header are all zero", n))
			p.Offset = diag.At(8)
			return add(&p)
		}
	}
	d := &decoder{file: name, limits: limits, report: report}
	d.tail = func(off uint64) []byte {
		tail := make([]byte, min(4096, uint64(size)-8-n-off))
		if readFull(r, tail, 8+int64(n+off)) != nil {
			return nil
		}
		return tail
	}
	return d.decode(text, size), report, nil
}

const (
	cutCause = "a download, copy or save that was interrupted, or a full disk"
	cutFix   = "get the file again, or use the checkpoint before it"
)

// lengthProblem judges the header length n of a file that begins with head.
func lengthProblem(n uint64, head []byte, size int64, limits Limits) *diag.Problem {
	room := uint64(size) - 8
	if n <= room && n <= limits.headerBytes() {
		return nil
	}
	brace := len(head) > 8 && (head[8] == '{' || jsonscan.IsBlank(head[8]))
	if p := Sniff(head, size); p != nil && !(brace && n <= MaxHeaderBytes) {
		return p
	}
	end := 0
	if brace {
		end = objectEnd(head[8:])
	}
	if n > room && n <= MaxHeaderBytes && (brace || room == 0) && end == 0 {
		p := diag.New(diag.FileTruncated, "the file ends inside its header: %s of a header of %d bytes are there", partOf(room, n), n)
		p.Offset, p.Cause, p.Fix = diag.At(size), cutCause, cutFix
		p.Want, p.Got = fmt.Sprintf("at least %d bytes", n+8), diag.Count(size, "byte")
		return &p
	}
	if n <= room && n <= MaxHeaderBytes {
		p := diag.New(diag.HeaderLimit, "the header has %d bytes, the limit of the caller is %d", n, limits.headerBytes())
		p.Offset, p.Fix = diag.At(0), advice[diag.HeaderLimit].fix
		return &p
	}
	p := diag.New(diag.HeaderLength, "the first 8 bytes announce a header of %d bytes, the file has %d and the format allows %d", n, size, MaxHeaderBytes)
	p.Offset = diag.At(0)
	p.Want, p.Got = fmt.Sprintf("at most %d", min(room, MaxHeaderBytes)), fmt.Sprint(n)
	p.Cause = "this is no safetensors file, or its first bytes were damaged"
	p.Fix = "look at the first bytes (head -c 64 FILE | xxd) and get the file again"
	switch {
	case end > 0 && n <= MaxHeaderBytes:
		p.Cause = fmt.Sprintf("these 8 bytes were damaged: the JSON text after them ends after %d bytes, and data follows", end)
		p.Fix = cutFix
	case brace && binary.BigEndian.Uint64(head) <= room:
		p.Cause = "the length was written big-endian, the format wants little-endian"
		p.Fix = "correct the program that wrote the file"
	case len(head) > 4 && head[4] == '{' && uint64(binary.LittleEndian.Uint32(head)) <= room:
		p.Cause = "the length was written in 4 bytes, the format wants 8"
		p.Fix = "correct the program that wrote the file"
	}
	return &p
}

// objectEnd returns where the JSON object that text begins with ends, 0 if it does
// not or nothing but blanks follows.
func objectEnd(text []byte) int {
	s := jsonscan.New(text)
	if s.Kind() != jsonscan.Object || s.Skip() != nil || s.Offset() == len(text) {
		return 0
	}
	return bytes.LastIndexByte(text[:s.Offset()], '}') + 1
}

// readText returns the n bytes of the header, of which head holds the beginning.
// Before it allocates much it makes sure that the source has that many bytes.
func readText(r io.ReaderAt, head []byte, n int64) ([]byte, error) {
	have := head[8:]
	if n <= int64(len(have)) {
		return have[:n:n], nil
	}
	if n > trust {
		if err := readFull(r, make([]byte, 1), 8+n-1); err != nil {
			return nil, err
		}
	}
	text := make([]byte, n)
	rest := text[copy(text, have):]
	if err := readFull(r, rest, int64(len(head))); err != nil {
		return nil, err
	}
	return text, nil
}

// readFull fills p from r.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("safetensors: the source ends at byte %d, before the size it was said to have: %w", off+int64(n), io.ErrUnexpectedEOF)
	}
	return err
}
