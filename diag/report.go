package diag

import (
	"cmp"
	"slices"
	"strings"
)

// DefaultLimit is how many problems of one code a Report keeps by default. A
// hostile or badly damaged file can have one per tensor; the rest are counted.
const DefaultLimit = 1000

// A Report collects problems. The zero value is an empty report with the
// default limit. It is not safe for concurrent use while problems are added;
// afterwards any number of goroutines may read it.
type Report struct {
	// Limit is how many problems of each code are kept; 0 means DefaultLimit.
	Limit int

	problems []Problem
	kept     map[Code]int
	omitted  map[kind]int
	counts   [Error + 1]int
}

// kind is what is still known of a problem that was left out.
type kind struct {
	code     Code
	severity Severity
}

// Add adds problems. Beyond the limit for their code they are only counted.
func (r *Report) Add(problems ...Problem) {
	limit := cmp.Or(r.Limit, DefaultLimit)
	if r.kept == nil {
		r.kept = make(map[Code]int)
	}
	for _, p := range problems {
		if r.kept[p.Code] >= limit {
			r.omit(kind{p.Code, p.Severity}, 1)
			continue
		}
		r.counts[p.Severity]++
		r.kept[p.Code]++
		r.problems = append(r.problems, p)
	}
}

func (r *Report) omit(k kind, n int) {
	if r.omitted == nil {
		r.omitted = make(map[kind]int)
	}
	r.omitted[k] += n
	r.counts[k.severity] += n
}

// Merge adds everything that other holds, what it only counted included. File
// names are prefixed by dir and a slash unless dir is "" or ".".
func (r *Report) Merge(dir string, other *Report) {
	r.MergeFunc(other, func(p *Problem) bool {
		if dir != "" && dir != "." && p.File != "" {
			p.File = dir + "/" + p.File
		}
		return true
	})
}

// MergeFunc is Merge with an edit: it may change its copy of a problem, and
// returns whether to take it. Of problems that other only counted it gets the code
// and the severity, once for all of a kind.
func (r *Report) MergeFunc(other *Report, edit func(*Problem) bool) {
	if other == nil {
		return
	}
	for _, p := range other.Problems() {
		if edit(&p) {
			r.Add(p)
		}
	}
	for k, n := range other.omitted {
		if p := (Problem{Code: k.code, Severity: k.severity}); edit(&p) {
			r.omit(kind{p.Code, p.Severity}, n)
		}
	}
}

// Problems returns the problems that were kept, in a new slice: worst first,
// then by file, code, offset, tensor and message.
func (r *Report) Problems() []Problem {
	if r == nil {
		return nil
	}
	return slices.SortedStableFunc(slices.Values(r.problems), compareProblems)
}

func compareProblems(a, b Problem) int {
	return cmp.Or(
		-cmp.Compare(a.Severity, b.Severity),
		strings.Compare(a.File, b.File),
		strings.Compare(string(a.Code), string(b.Code)),
		compareOffsets(a.Offset, b.Offset),
		CompareNames(a.Tensor, b.Tensor),
		strings.Compare(a.Message, b.Message),
	)
}

func compareOffsets(a, b *int64) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return cmp.Compare(*a, *b)
}

// CompareNames orders names with their numbers by value, so that layer 2 comes
// before layer 10.
func CompareNames(a, b string) int {
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		if isDigit(a[i]) && isDigit(b[j]) {
			x, y := digits(a[i:]), digits(b[j:])
			i, j = i+len(x), j+len(y)
			tx, ty := strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if c := cmp.Or(cmp.Compare(len(tx), len(ty)), strings.Compare(tx, ty)); c != 0 {
				return c
			}
			continue
		}
		if a[i] != b[j] {
			return cmp.Compare(a[i], b[j])
		}
		i, j = i+1, j+1
	}
	return cmp.Or(cmp.Compare(len(a)-i, len(b)-j), strings.Compare(a, b))
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func digits(s string) string {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return s[:n]
}

// Count returns how many problems of the severity were added, those left out
// included.
func (r *Report) Count(s Severity) int {
	if r == nil {
		return 0
	}
	return r.counts[s]
}

// Omitted returns how many problems of each code were left out, or nil.
func (r *Report) Omitted() map[Code]int {
	if r == nil || len(r.omitted) == 0 {
		return nil
	}
	byCode := make(map[Code]int)
	for k, n := range r.omitted {
		byCode[k.code] += n
	}
	return byCode
}

// Has reports whether a problem of the code was added.
func (r *Report) Has(c Code) bool { return r != nil && r.kept[c] > 0 }

// Err returns nil if there is no problem of severity Error, else an error whose
// text is the report and which matches (errors.Is) each code in it.
func (r *Report) Err() error {
	if r.Count(Error) == 0 {
		return nil
	}
	return &reportError{r}
}

type reportError struct{ r *Report }

func (e *reportError) Error() string { return e.r.Summary() }

func (e *reportError) Is(target error) bool {
	c, ok := target.(Code)
	return ok && e.r.Has(c)
}
