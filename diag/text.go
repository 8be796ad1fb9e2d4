package diag

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// TextOptions configures WriteText. Nil means defaults.
type TextOptions struct {
	Color   bool // ANSI colours
	Indent  string
	Details int // how many problems of a group are spelled out; 0 means 3
}

// WriteText writes the report for people. Problems that share code, file, cause
// and fix are told once, with the names of their tensors drawn together
// (model.layers.{0-27}.mlp.up_proj.weight), so that a missing shard is a few
// lines and not a wall; so are those of many files.
func (r *Report) WriteText(w io.Writer, o *TextOptions) error {
	if o == nil {
		o = &TextOptions{}
	}
	var b strings.Builder
	for _, g := range foldFiles(groupProblems(r.Problems())) {
		g.write(&b, o)
	}
	omitted := r.Omitted()
	for _, c := range slices.Sorted(maps.Keys(omitted)) {
		fmt.Fprintf(&b, "%s        and %d more of code %s, which are only counted\n", o.Indent, omitted[c], string(c))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Summary returns the first group of the report and the number of problems, in
// a line or two: what an error message has room for.
func (r *Report) Summary() string {
	problems := r.Problems()
	if len(problems) == 0 {
		return "no problems"
	}
	p := problems[0]
	s := string(p.Code) + " " + place(&p) + p.Message
	if p.Fix != "" {
		s += "; " + p.Fix
	}
	if n := r.Count(Error) + r.Count(Warning) - 1; n > 0 {
		s += " (and " + Count(n, "more problem") + ")"
	}
	return s
}

type group struct {
	problems []Problem
	files    bool // each is of another file
}

// groupProblems joins neighbours in the report's order, so the worst stay first.
func groupProblems(problems []Problem) []*group {
	type key struct {
		code             Code
		severity         Severity
		file, cause, fix string
	}
	var out []*group
	at := make(map[key]*group)
	for _, p := range problems {
		k := key{p.Code, p.Severity, p.File, p.Cause, p.Fix}
		g := at[k]
		if g == nil {
			g = &group{}
			at[k] = g
			out = append(out, g)
		}
		g.problems = append(g.problems, p)
	}
	return out
}

// foldFiles joins groups that say the same of many files, each as a whole.
func foldFiles(groups []*group) []*group {
	const few = 3
	type key struct {
		code       Code
		severity   Severity
		cause, fix string
	}
	same := make(map[key][]*group)
	keyOf := func(g *group) (key, bool) {
		p := g.problems[0]
		return key{p.Code, p.Severity, p.Cause, p.Fix}, len(g.problems) == 1 && p.File != "" && p.Tensor == "" && p.Offset == nil
	}
	for _, g := range groups {
		if k, ok := keyOf(g); ok {
			same[k] = append(same[k], g)
		}
	}
	return slices.DeleteFunc(groups, func(g *group) bool {
		k, ok := keyOf(g)
		if !ok || len(same[k]) <= few {
			return false
		}
		if g != same[k][0] {
			return true
		}
		for _, other := range same[k][1:] {
			g.problems = append(g.problems, other.problems...)
		}
		g.files = true
		return false
	})
}

var colors = [...]string{Note: "\x1b[36m", Warning: "\x1b[33m", Error: "\x1b[31m"}

func (g *group) write(b *strings.Builder, o *TextOptions) {
	p := g.problems[0]
	label := fmt.Sprintf("%-7s %s", p.Severity, string(p.Code))
	if o.Color {
		label = colors[p.Severity] + label + "\x1b[0m"
	}
	line := func(key, text string) {
		if text != "" {
			fmt.Fprintf(b, "%s        %-5s %s\n", o.Indent, key, text)
		}
	}
	if len(g.problems) == 1 {
		fmt.Fprintf(b, "%s%s  %s%s\n", o.Indent, label, place(&p), p.Message)
		for _, r := range p.Related {
			line("see", place(&Problem{File: r.File, Tensor: "", Offset: r.Offset})+r.Message)
		}
	} else {
		many := cmp.Or(byCode[p.Code].Many, "problems")
		where := place(&Problem{File: p.File})
		if g.files {
			where = ""
		}
		fmt.Fprintf(b, "%s%s  %s%d %s\n", o.Indent, label, where, len(g.problems), many)
		if names := g.names(); len(names) > 0 {
			const room = 6
			shown := Templates(names)
			if more := len(shown) - room; more > 0 {
				shown = append(shown[:room], fmt.Sprintf("and %d more like these", more))
			}
			for _, s := range shown {
				line("", s)
			}
		}
		for i, q := range g.problems {
			if i == cmp.Or(o.Details, 3) {
				break
			}
			if g.files && !strings.Contains(q.Message, Name(q.File)) {
				q.Message = place(&q) + q.Message
			}
			line("e.g.", q.Message)
		}
	}
	line("why", p.Cause)
	line("fix", p.Fix)
}

func (g *group) names() []string {
	var names []string
	for _, p := range g.problems {
		if g.files {
			names = append(names, p.File)
		} else if p.Tensor != "" {
			names = append(names, p.Tensor)
		}
	}
	return names
}

func place(p *Problem) string {
	switch {
	case p.File == "", strings.HasPrefix(p.Message, Name(p.File)): // not twice in one line
		return ""
	case p.Offset != nil:
		return fmt.Sprintf("%s, byte %d: ", Name(p.File), *p.Offset)
	default:
		return Name(p.File) + ": "
	}
}

// Templates draws names together that differ only in numbers:
// "model.layers.0.w" and "model.layers.1.w" become "model.layers.{0-1}.w".
// The result is in order of first appearance.
func Templates(names []string) []string {
	type template struct {
		text   string  // hole where the number stood
		values [][]int // each name's numbers
	}
	var order []*template
	byText := make(map[string]*template)
	for _, name := range names {
		text, values := splitNumbers(name)
		t := byText[text]
		if t == nil {
			t = &template{text: text}
			byText[text] = t
			order = append(order, t)
		}
		t.values = append(t.values, values)
	}
	var out []string
	for _, t := range order {
		s := t.text
		for i := range t.values[0] {
			set := make([]int, len(t.values))
			for j, v := range t.values {
				set[j] = v[i]
			}
			s = strings.Replace(s, hole, ranges(set), 1)
		}
		s = Name(s)
		if n := len(t.values); n > 1 {
			s += fmt.Sprintf(" (%d)", n)
		}
		out = append(out, s)
	}
	return out
}

const hole = "\x00"

// splitNumbers replaces the dot-separated numbers of name by holes. A name that
// has such a byte itself is left alone.
func splitNumbers(name string) (text string, values []int) {
	if strings.Contains(name, hole) {
		return name, nil
	}
	fields := strings.Split(name, ".")
	for i, f := range fields {
		if n, err := strconv.Atoi(f); err == nil && strconv.Itoa(n) == f {
			fields[i], values = hole, append(values, n)
		}
	}
	return strings.Join(fields, "."), values
}

// ranges writes a set of numbers as "3", "{0-27}" or "{0-3,7}".
func ranges(set []int) string {
	slices.Sort(set)
	set = slices.Compact(set)
	if len(set) == 1 {
		return strconv.Itoa(set[0])
	}
	var runs []string
	for i := 0; i < len(set); {
		j := i
		for j+1 < len(set) && set[j+1] == set[j]+1 {
			j++
		}
		if j == i {
			runs = append(runs, strconv.Itoa(set[i]))
		} else {
			runs = append(runs, fmt.Sprintf("%d-%d", set[i], set[j]))
		}
		i = j + 1
	}
	return "{" + strings.Join(runs, ",") + "}"
}
