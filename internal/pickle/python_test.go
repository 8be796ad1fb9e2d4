package pickle

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

// recorded is a line of testdata/pickles.jsonl.gz.
type recorded struct {
	Name     string `json:"name"`
	Protocol int    `json:"protocol"`
	Pickle   string `json:"pickle"`
	Want     string `json:"want"`
}

func (r *recorded) bytes(t testing.TB) []byte {
	b, err := hex.DecodeString(r.Pickle)
	require.NoError(t, err)
	return b
}

func readRecorded(t testing.TB, file string) []recorded {
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	var all []recorded
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r recorded
		require.NoError(t, json.Unmarshal(lines.Bytes(), &r))
		all = append(all, r)
	}
	require.NoError(t, lines.Err())
	return all
}

func readBytes(t testing.TB, data []byte) (*Document, error) {
	return Read(t.Context(), bytes.NewReader(data), 0, int64(len(data)), nil)
}

// canon writes a value as testdata/pickles.py does.
func canon(n node, open ...node) string {
	switch n.(type) {
	case *seq, *dict:
		if slices.Contains(open, n) {
			return "@"
		}
	}
	inside := append(slices.Clone(open), n)
	switch n := n.(type) {
	case none:
		return "None"
	case bool, int64, *big.Int:
		s := fmt.Sprint(n)
		return strings.ToUpper(s[:1]) + s[1:]
	case float64:
		return fmt.Sprintf("f%016x", math.Float64bits(n))
	case string:
		return "s" + pythonJSON(n)
	case []byte:
		return fmt.Sprintf("b%x", n)
	case *seq:
		var parts []string
		for _, e := range n.elems {
			parts = append(parts, canon(e, inside...))
		}
		brackets := map[Kind]string{List: "[]", Tuple: "()", Set: "{}"}[n.kind]
		if n.kind == Set {
			slices.Sort(parts)
		}
		return brackets[:1] + strings.Join(parts, " ") + brackets[1:]
	case *dict:
		var parts []string
		for i, k := range n.keys {
			parts = append(parts, canon(k, inside...)+":"+canon(n.vals[i], inside...))
		}
		return "<" + strings.Join(parts, " ") + ">"
	case *object:
		return "inert"
	}
	return describe(n)
}

// pythonJSON is json.dumps of a string.
func pythonJSON(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, u := range utf16.Encode([]rune(s)) {
		switch {
		case u == '"' || u == '\\':
			b.WriteString("\\" + string(rune(u)))
		case u == '\n':
			b.WriteString("\\n")
		case u < ' ' || u > '~':
			fmt.Fprintf(&b, "\\u%04x", u)
		default:
			b.WriteRune(rune(u))
		}
	}
	return b.String() + `"`
}

func requireRecorded(t *testing.T, r *recorded) {
	data := r.bytes(t)
	doc, err := readBytes(t, data)
	require.NoError(t, err)
	require.Equal(t, int64(len(data)), doc.End)
	got := canon(doc.Root.n)
	if strings.HasPrefix(r.Want, "length ") {
		got = fmt.Sprintf("length %d", len(got))
	}
	require.Equal(t, r.Want, got)
	for range doc.Root.All() { // ends, though some are cyclic
	}
}

// Pickles of all protocols hold for us what they hold for Python.
func TestAsPython(t *testing.T) {
	all := readRecorded(t, "testdata/pickles.jsonl.gz")
	require.Greater(t, len(all), 300)
	for _, r := range all {
		t.Run(fmt.Sprintf("%s/%d", r.Name, r.Protocol), func(t *testing.T) { requireRecorded(t, &r) })
	}
}

func TestAsInstalledPython(t *testing.T) {
	python := os.Getenv("SAFECKPT_PYTHON")
	if python == "" {
		t.Skip("SKIPPED: set SAFECKPT_PYTHON to a Python interpreter to compare with it")
	}
	file := filepath.Join(t.TempDir(), "pickles.jsonl.gz")
	out, err := exec.Command(python, "testdata/pickles.py", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, r := range readRecorded(t, file) {
		t.Run(fmt.Sprintf("%s/%d", r.Name, r.Protocol), func(t *testing.T) { requireRecorded(t, &r) })
	}
}

// A pickle that is cut anywhere is refused, and says so.
func TestTruncatedPickles(t *testing.T) {
	for _, r := range readRecorded(t, "testdata/pickles.jsonl.gz") {
		data := r.bytes(t)
		if len(data) > 3000 {
			continue
		}
		for n := range data {
			_, err := readBytes(t, data[:n])
			require.ErrorIs(t, err, ErrTruncated, "%s, protocol %d, %d of %d bytes", r.Name, r.Protocol, n, len(data))
		}
	}
}

// Objects of unknown classes can be walked, whatever the protocol.
func TestInertObjects(t *testing.T) {
	seen := make(map[string]int)
	for _, r := range readRecorded(t, "testdata/pickles.jsonl.gz") {
		if r.Want != "inert" {
			continue
		}
		doc, err := readBytes(t, r.bytes(t))
		require.NoError(t, err)
		v := doc.Root
		require.Equal(t, Inert, v.Kind())
		_, name, ok := v.Class()
		require.True(t, ok)
		seen[name]++
		require.NotEmpty(t, doc.Inert)
		_, err = v.Int()
		require.ErrorIs(t, err, ErrType)
		require.ErrorContains(t, err, "want an int, found an object of ")
		switch name {
		case "Namespace":
			lr, err := v.Get("lr").Float()
			require.NoError(t, err)
			require.Equal(t, 0.1, lr)
			layers, err := v.Get("layers").Ints()
			require.NoError(t, err)
			require.Equal(t, []int64{1, 2}, layers)
			_, found := v.Lookup("nope")
			require.False(t, found)
		case "SimpleNamespace":
			a, err := v.Get("a").Int()
			require.NoError(t, err)
			require.EqualValues(t, 1, a)
		case "PurePosixPath":
			require.NotZero(t, v.Args().Len())
		case "date":
			b, err := v.Args().Get(0).Bytes()
			require.NoError(t, err)
			require.Equal(t, []byte{0x07, 0xea, 11, 23}, b)
		}
	}
	for _, name := range []string{"Namespace", "deque", "PurePosixPath", "Fraction", "date", "complex"} {
		require.Equal(t, 6, seen[name], "%s in %v", name, seen)
	}
}
