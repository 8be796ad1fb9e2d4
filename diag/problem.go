package diag

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// A Problem is one finding: what was wanted, what was found, where, why it
// probably happened and what to do about it.
type Problem struct {
	Code     Code
	Severity Severity
	File     string // path relative to the target that was checked; "" if none
	Tensor   string // the tensor's name as it stands on disk; "" if none
	Offset   *int64 // bytes from the start of File; nil if none. See At.
	Want     string // what was expected, in few words; "" if that does not apply
	Got      string // what was found, in few words
	Message  string // one sentence that stands alone: names Want and Got
	Cause    string // why this usually happens; "" if not known
	Fix      string // what to do or type; "" if nothing sensible can be said
	Related  []Related
}

// Related is a second place that a problem concerns, such as the first of two
// tensors that share bytes.
type Related struct {
	File    string
	Tensor  string
	Offset  *int64
	Message string
}

// At returns a pointer to off, for Problem.Offset.
func At(off int64) *int64 { return &off }

// New returns a problem of the given code with the severity of its table entry
// and a formatted message.
func New(c Code, format string, args ...any) Problem {
	info := byCode[c]
	return Problem{Code: c, Severity: info.Severity, Message: fmt.Sprintf(format, args...)}
}

// Title returns the title of the problem's code.
func (p *Problem) Title() string { return byCode[p.Code].Title }

// MarshalJSON writes the PROBLEM object of the tool's JSON, schema version 1:
// strings that do not apply are null. Names and values over 4,000 bytes lose their
// middle: a file may have one huge name and very many problems with it.
func (p Problem) MarshalJSON() ([]byte, error) {
	type related struct {
		File    *string `json:"file"`
		Tensor  *string `json:"tensor"`
		Offset  *int64  `json:"offset"`
		Message string  `json:"message"`
	}
	var rel []related
	for _, r := range p.Related {
		rel = append(rel, related{shortened(r.File), shortened(r.Tensor), r.Offset, r.Message})
	}
	return json.Marshal(struct {
		Code     Code      `json:"code"`
		Severity string    `json:"severity"`
		Title    string    `json:"title"`
		Message  string    `json:"message"`
		File     *string   `json:"file"`
		Tensor   *string   `json:"tensor"`
		Offset   *int64    `json:"offset"`
		Want     *string   `json:"want"`
		Got      *string   `json:"got"`
		Cause    *string   `json:"cause"`
		Fix      *string   `json:"fix"`
		Related  []related `json:"related,omitempty"`
	}{p.Code, p.Severity.String(), p.Title(), p.Message, shortened(p.File), shortened(p.Tensor), p.Offset,
		shortened(p.Want), shortened(p.Got), orNull(p.Cause), orNull(p.Fix), rel})
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func shortened(s string) *string { return orNull(elide(s, 4000)) }

// elide leaves out the middle of a text over limit bytes and says so.
func elide(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	cut := fmt.Sprintf("…%d bytes…", len(s)-limit)
	return strings.ToValidUTF8(s[:limit/2], "") + cut + strings.ToValidUTF8(s[len(s)-limit/2:], "")
}

// Name returns a tensor name, metadata key or path for display: unchanged if it
// is short and printable, else quoted, with control and bidirectional
// characters escaped and the middle of anything over 200 bytes left out.
func Name(s string) string {
	s = elide(s, 200)
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar || r == '"' }) {
		return strconv.Quote(s)
	}
	return s
}

// Count writes a number of things in words, such as "1 tensor", "2 tensors" or
// "0 entries". The noun is given in the singular.
func Count[N int | int32 | int64 | uint | uint32 | uint64](n N, noun string) string {
	if n != 1 {
		stem, ending := noun, "s"
		switch last := noun[len(noun)-1]; {
		case last == 's' || last == 'x':
			ending = "es"
		case last == 'y':
			stem, ending = noun[:len(noun)-1], "ies"
		}
		noun = stem + ending
	}
	return fmt.Sprint(n, " ", noun)
}

// Size formats a number of bytes for people: decimal units as disks are sold
// and as save_pretrained's max_shard_size counts, e.g. "16.58 GB".
func Size(n uint64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return Count(n, "byte")
	}
	f, u := float64(n)/1000, 0
	for f >= 999.995 && u < len(units)-1 {
		f /= 1000
		u++
	}
	return strconv.FormatFloat(f, 'f', 2, 64) + " " + units[u:u+1] + "B"
}
