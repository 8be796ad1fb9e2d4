package pickle

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/internal/peakheap"
)

func TestUnsafeNames(t *testing.T) {
	for _, name := range []string{
		"os system", "posix system", "nt system", "os.path join", "subprocess Popen", "commands getoutput", "sys exit", "ctypes CDLL",
		"builtins eval", "__builtin__ eval", "__builtin__ execfile", "builtins exec", "builtins getattr", "builtins __import__", "builtins compile", "builtins open",
		"runpy run_path", "socket socket", "shutil rmtree", "importlib import_module", "importlib.util find_spec", "pickle loads", "_pickle loads", "cPickle loads",
		"torch load", "torch.hub load", "codecs decode", "codecs open", "_codecs decode", "io open", "io FileIO", "types CodeType", "marshal loads", "pty spawn",
		"numpy.testing._private.utils runstring", "asyncio.unix_events x", "timeit timeit", "operator attrgetter",
	} {
		module, attr, _ := strings.Cut(name, " ")
		for _, pickled := range []string{
			"c" + module + "\n" + attr + "\n.",
			"(i" + module + "\n" + attr + "\n.",
			"\x80\x04" + short(module) + short(attr) + "\x93.",
			"}c" + module + "\n" + attr + "\nX\x00\x00\x00\x00\x85R0.", // called, and the result dropped
		} {
			_, err := readBytes(t, []byte(pickled))
			require.ErrorIs(t, err, ErrUnsafe, name)
			var e *Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, module+"."+attr, e.Global)
			require.NotContains(t, e.Path, name)
		}
	}
	// Protocol 4 reaches into modules and objects by dots.
	for _, name := range []string{"torch.serialization os.system", "torch _utils.sys.modules", "collections abc.sys.exit", "x a.subprocess.Popen", "x A.__globals__", "x A.__init__.__globals__", "x A.builtins.eval", "x " + strings.Repeat("a.", 20) + "b"} {
		module, attr, _ := strings.Cut(name, " ")
		_, err := readBytes(t, []byte("\x80\x04"+short(module)+short(attr)+"\x93."))
		require.ErrorIs(t, err, ErrUnsafe, name)
	}
	// Names that only look so.
	for _, name := range []string{"osx system", "mymodule eval", "posixish x", "copyreg __newobj__", "_codecs encode", "builtins set", "builtins complex", "pathlib PosixPath", "__main__ Config", "torch.nn.modules.linear Linear", "io BytesIO", "code.model Net", "profile.configs Config", "joblib.numpy_pickle NumpyArrayWrapper", "functools partial", "x Outer.Inner"} {
		module, attr, _ := strings.Cut(name, " ")
		_, err := readBytes(t, []byte("\x80\x04"+short(module)+short(attr)+"\x93."))
		require.NoError(t, err, name)
	}
}

// short pickles a string of less than 256 bytes.
func short(s string) string { return "\x8c" + string([]byte{byte(len(s))}) + s }

func TestMalformed(t *testing.T) {
	for _, test := range []struct {
		name, data string
		want       error
		text       string
	}{
		{"nothing", "", ErrTruncated, "the pickle ends 1 bytes too early (at byte 0)"},
		{"no opcode", "\x01.", ErrSyntax, "0x01 is no pickle opcode (at byte 0)"},
		{"protocol", "\x80\x06N.", ErrSyntax, "pickle protocol 6, want 0 to 5"},
		{"two values", "NN.", ErrSyntax, "2 values and 0 marks at the end, want one value (at byte 2)"},
		{"no value", ".", ErrSyntax, "0 values and 0 marks"},
		{"open mark", "N(.", ErrSyntax, "1 values and 1 marks"},
		{"pop", "0N.", ErrSyntax, "POP on an empty stack"},
		{"pop through a mark", "N(a.", ErrSyntax, "APPEND on an empty stack"},
		{"no mark", "Nt.", ErrSyntax, "TUPLE without a mark"},
		{"short tuple", "N\x86.", ErrSyntax, "TUPLE2 with 1 values on the stack"},
		{"append to an int", "K\x01Na.", ErrSyntax, "APPEND to the int 1"},
		{"append to a tuple", ")Na.", ErrSyntax, "APPEND to a tuple of 0"},
		{"add to a list", "](N\x90.", ErrSyntax, "ADDITEMS to a list of 0"},
		{"key without value", "}(Nu.", ErrSyntax, "SETITEMS with a key but no value"},
		{"item of a list", "]NNs.", ErrSyntax, "SETITEM on a list of 0"},
		{"memo", "h\x07.", ErrSyntax, "BINGET of memo entry 7, which is not set (at byte 0)"},
		{"memo as text", "gx\n.", ErrSyntax, `memo index "x" is not a number`},
		{"memo index", "Np-1\n.", ErrSyntax, `memo index "-1" is not a number`},
		{"put and memoize", "Nq\x000N\x94h\x000.", ErrSyntax, "both PUT and MEMOIZE"},
		{"call of an int", "K\x01)R.", ErrSyntax, "call of the int 1"},
		{"arguments", "ca\nb\nNR.", ErrSyntax, "arguments are None, want a tuple"},
		{"keyword arguments", "ca\nb\n)N\x92.", ErrSyntax, "keyword arguments are None, want a dict"},
		{"state of an int", "K\x01}b.", ErrSyntax, "BUILD on the int 1"},
		{"stack global", "NN\x93.", ErrSyntax, "STACK_GLOBAL of None and None, want two strings"},
		{"empty module", "c\nx\n.", ErrSyntax, `GLOBAL of the module "" and the name x`},
		{"long name", "c" + strings.Repeat("a.", 600) + "\nx\n.", ErrSyntax, "GLOBAL of a name of 1201 bytes"},
		{"class", "(o.", ErrSyntax, "OBJ without a class"},
		{"extension", "\x82\x01.", ErrSyntax, "EXT1, which torch and pickle.dump do not write"},
		{"out of band", "\x97.", ErrSyntax, "NEXT_BUFFER, which"},
		{"int", "Ix\n.", ErrSyntax, `INT of "x"`},
		{"long", "L" + strings.Repeat("9", 5000) + "L\n.", ErrSyntax, "LONG of"},
		{"float", "Fx\n.", ErrSyntax, `FLOAT of "x"`},
		{"string", "Sx\n.", ErrSyntax, `STRING of "x"`},
		{"escape", "S'\\q'\n.", ErrSyntax, "STRING of"},
		{"UTF-8", "X\x01\x00\x00\x00\xff.", ErrSyntax, "BINUNICODE that is not UTF-8"},
		{"wide integer", "\x8b\x00\x10\x00\x00" + strings.Repeat("\x01", 4096) + ".", ErrSyntax, "integer of 4096 bytes"},
		{"string length", "X\xff\xff\xff\xff.", ErrTruncated, "BINUNICODE of 4294967295 bytes, but only 1 are left"},
		{"bytes length", "\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", ErrTruncated, "BINBYTES8 of 18446744073709551615 bytes"},
		{"frame", "\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.", ErrTruncated, "frame of"},
		{"frame past the end", "\x80\x04\x95\x06\x00\x00\x00\x00\x00\x00\x00N.xxxx", ErrSyntax, "a frame ends 4 bytes after the pickle"},
		{"bytes as text", "c_codecs\nencode\nX\x02\x00\x00\x00\xc4\x80X\x06\x00\x00\x00latin1\x86R.", ErrSyntax, "character U+0100 in bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := readBytes(t, []byte(test.data))
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, test.text)
		})
	}
}

// storageID pickles a persistent id.
func storageID(class, key string, numel uint64, more string) string {
	return "(X\x07\x00\x00\x00storagec" + class + "\n" + short(key) + short("cpu") + "\x8a\x09" + string(binary.LittleEndian.AppendUint64(nil, numel)) + "\x00" + more + "tQ"
}

func tensorOf(storage, offset, shape, strides string) string {
	return "\x80\x04ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + shape + strides + "\x89}tR."
}

const float32s = "torch\nFloatStorage"

func TestTensors(t *testing.T) {
	const huge = "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"
	for _, test := range []struct{ name, data, text string }{
		{"fits", tensorOf(storageID(float32s, "0", 6, ""), "K\x00", "K\x02K\x03\x86", "K\x03K\x01\x86"), ""},
		{"transposed", tensorOf(storageID(float32s, "0", 6, ""), "K\x00", "K\x03K\x02\x86", "K\x01K\x03\x86"), ""},
		{"empty, far away", tensorOf(storageID(float32s, "0", 0, ""), "K\x09", "K\x00"+huge+"\x86", "K\x01K\x01\x86"), ""},
		{"old view", tensorOf(storageID(float32s, "0", 6, short("v")+"K\x02K\x04\x87"), "K\x00", "K\x04\x85", "K\x01\x85"), ""},
		{"past the old view", tensorOf(storageID(float32s, "0", 6, short("v")+"K\x02K\x03\x87"), "K\x00", "K\x04\x85", "K\x01\x85"), "does not fit in storage 0 of 3 elements"},
		{"old view outside", tensorOf(storageID(float32s, "0", 6, short("v")+"K\x02K\x05\x87"), "K\x00", "K\x04\x85", "K\x01\x85"), "storage 0 with a view that is not inside it"},
		{"one too many", tensorOf(storageID(float32s, "0", 5, ""), "K\x00", "K\x02K\x03\x86", "K\x03K\x01\x86"), "tensor of shape [2, 3], strides [3, 1] and offset 0 does not fit in storage 0 of 5 elements"},
		{"offset", tensorOf(storageID(float32s, "0", 6, ""), "K\x01", "K\x02K\x03\x86", "K\x03K\x01\x86"), "does not fit"},
		{"negative offset", tensorOf(storageID(float32s, "0", 6, ""), "J\xff\xff\xff\xff", "K\x01\x85", "K\x01\x85"), "does not fit"},
		{"negative size", tensorOf(storageID(float32s, "0", 6, ""), "K\x00", "J\xff\xff\xff\xff\x85", "K\x01\x85"), "tensor of shape [-1] with strides [1]"},
		{"negative stride", tensorOf(storageID(float32s, "0", 6, ""), "K\x05", "K\x02\x85", "J\xff\xff\xff\xff\x85"), "with strides [-1]"},
		{"overflow", tensorOf(storageID(float32s, "0", 6, ""), "K\x00", huge+huge+"\x86", huge+huge+"\x86"), "does not fit"},
		{"overflow of a sum", tensorOf(storageID(float32s, "0", 6, ""), huge, huge+"\x85", "K\x01\x85"), "does not fit"},
		{"expanded without bound", tensorOf(storageID(float32s, "0", 6, ""), "K\x00", huge+"\x85", "K\x00\x85"), "does not fit"},
		{"no strides", tensorOf(storageID(float32s, "0", 6, ""), "K\x00", "K\x02\x85", ")"), "tensor with 1 dimensions but 0 strides"},
		{"shape", tensorOf(storageID(float32s, "0", 6, ""), "K\x00", "N", ")"), "tensor with offset the int 0, shape None and strides a tuple of 0"},
		{"dimensions", tensorOf(storageID(float32s, "0", 6, ""), "K\x00", "("+strings.Repeat("K\x01", 65)+"t", "("+strings.Repeat("K\x01", 65)+"t"), "tensor with 65 dimensions"},
		{"numel", tensorOf(storageID(float32s, "0", 1<<63, ""), "K\x00", ")", ")"), "storage with key the string \"0\""},
		{"bytes", tensorOf(storageID(float32s, "0", 1<<62, ""), "K\x00", ")", ")"), "storage 0 of 4611686018427387904 elements"},
		{"long key", "(" + storageID(float32s, strings.Repeat("k", 200), 6, "") + strings.Replace(storageID(float32s, "k", 6, ""), short("k"), "X\xe9\x03\x00\x00"+strings.Repeat("k", 1001), 1) + "t.", "storage with key"},
		{"two sizes", "(" + storageID(float32s, "0", 6, "") + storageID(float32s, "0", 7, "") + "t.", "storage 0 has 28 bytes here and 24 bytes elsewhere"},
		{"two types", "(" + storageID(float32s, "0", 6, "") + storageID("torch\nIntStorage", "0", 6, "") + "t.", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			doc, err := readBytes(t, []byte(test.data))
			if test.text == "" {
				require.NoError(t, err)
				require.Len(t, doc.Storages, 1)
				return
			}
			require.ErrorIs(t, err, ErrSyntax)
			require.ErrorContains(t, err, test.text)
		})
	}
	doc, err := readBytes(t, []byte(tensorOf(storageID(float32s, "0", 6, short("v")+"K\x02K\x04\x87"), "K\x01", "K\x03\x85", "K\x01\x85")))
	require.NoError(t, err)
	tensor, err := doc.Root.Tensor()
	require.NoError(t, err)
	require.EqualValues(t, 3, tensor.Offset, "a view of an old pickle begins inside its storage")
}

// repeated is a pickle of any length that takes no memory: a head, a body n
// times, a tail.
type repeated struct {
	head, body string
	n          int64
	tail       string
	number     bool // the last 4 bytes of the body count up
}

func (r *repeated) size() int64 {
	return int64(len(r.head)) + r.n*int64(len(r.body)) + int64(len(r.tail))
}

func (r *repeated) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at := off + int64(n)
		var chunk string
		switch body := at - int64(len(r.head)); {
		case body < 0:
			chunk = r.head[at:]
		case body < r.n*int64(len(r.body)):
			chunk = r.body
			if r.number {
				chunk = r.body[:len(r.body)-4] + string(binary.LittleEndian.AppendUint32(nil, uint32(body/int64(len(r.body)))))
			}
			chunk = chunk[body%int64(len(r.body)):]
		case at < r.size():
			chunk = r.tail[body-r.n*int64(len(r.body)):]
		default:
			return n, io.EOF
		}
		n += copy(p[n:], chunk)
	}
	return n, nil
}

// However hostile and however large the pickle, memory stays below 64 MiB.
func TestMemoryIsBounded(t *testing.T) {
	const many = 1 << 20
	text := "X\x00\x00\x10\x00" + strings.Repeat("t", 1<<20) // a string of 1 MiB
	for _, test := range []struct {
		name string
		repeated
		want error // nil: it is read
	}{
		{"lists on the stack", repeated{body: "]", n: many, tail: "."}, ErrLimit},
		{"lists in a list", repeated{head: "]", body: "]a", n: many, tail: "."}, ErrLimit},
		{"nested lists", repeated{head: "]", body: "]", n: many, tail: "."}, ErrLimit},
		{"nested tuples", repeated{head: ")", body: "\x85", n: many, tail: "."}, ErrLimit},
		{"marks", repeated{body: "(", n: many, tail: "."}, ErrLimit},
		{"Nones on the stack", repeated{body: "N", n: many, tail: "."}, ErrLimit},
		{"Nones in a list", repeated{head: "]", body: "Na", n: 2 * many, tail: "."}, ErrLimit},
		{"numbers in a list", repeated{head: "]", body: "J\x00\x00\x00\x7fa", n: many, tail: "."}, ErrLimit},
		{"values pushed and dropped", repeated{body: "N0", n: many, tail: "N."}, nil},
		{"lists made and dropped", repeated{body: "]0", n: many, tail: "N."}, ErrLimit},
		{"memo entries not fetched", repeated{head: "N", body: "r\x00\x00\x00\x00", n: many, number: true, tail: "."}, nil},
		{"memo entries fetched", repeated{head: "N", body: "j\x00\x00\x00\x00", n: many, number: true, tail: "."}, ErrLimit},
		{"huge memo index", repeated{body: "Nr\xff\xff\xff\xffj\xff\xff\xff\xff00", n: many / 4, tail: "N."}, nil},
		{"strings", repeated{head: "]", body: text + "a", n: 100, tail: "."}, ErrLimit},
		{"one long string", repeated{head: "X\x00\x00\x00\x40", body: "0123456789abcdef", n: 1 << 26, tail: "."}, nil},
		{"long strings", repeated{head: "]", body: "X\x01\x00\x10\x00" + text[5:] + "xa", n: 1000, tail: "."}, nil},
		{"lines", repeated{body: "S'" + strings.Repeat("l", 1<<19) + "'\n", n: 200, tail: "."}, ErrLimit},
		{"endless line", repeated{head: "V", body: "llllllll", n: many, tail: "\n."}, ErrLimit},
		{"names", repeated{body: "\x8c\x01m\x8c\x01n\x930c" + strings.Repeat("x", 40) + "\ny\n0", n: many, tail: "N."}, ErrLimit},
		{"dict of numbers", repeated{head: "}K\x00", body: "NsJ\x00\x00\x00\x00", number: true, n: many, tail: "Ns."}, ErrLimit},
		{"the same key", repeated{head: "}", body: "K\x01Ns", n: many, tail: "."}, ErrLimit},
		{"sets of a list", repeated{head: "c__builtin__\nset\nq\x00](" + strings.Repeat("N", 100_000) + "eq\x010h\x000", body: "h\x00h\x01\x85R0", n: many, tail: "N."}, ErrLimit},
		{"a long key set again and again", repeated{head: text + "q\x000}", body: "h\x00Ns", n: many, tail: "."}, ErrLimit},
		{"copies of copies", repeated{head: "ctorch\nSize\nq\x000" + strings.Repeat("h\x00", 100_000) + "(" + strings.Repeat("N", 100_000) + "t", body: "\x85R", n: 100_000, tail: "."}, ErrLimit},
		{"calls with copies", repeated{head: "ctorch\nSize\nq\x000ccollections\nOrderedDict\nq\x010(}" + strings.Repeat("N", 100_000) + "tq\x020", body: "h\x01h\x00h\x02\x85RR0", n: many, tail: "N."}, ErrLimit},
		{"tuples of the memo", repeated{head: ")q\x00", body: "0h\x00h\x00\x86q\x00", n: many, tail: "."}, ErrLimit},
		{"calls", repeated{head: "ca\nb\nq\x000N", body: "h\x00)R\x86", n: many, tail: "."}, ErrLimit},
		{"calls of calls", repeated{head: "ca\nb\n", body: ")R", n: many, tail: "."}, ErrLimit},
		{"classes", repeated{head: "ca\nb\nq\x00", body: "0(h\x00o", n: many, tail: "."}, ErrLimit},
		{"tensors", repeated{head: "]ctorch._utils\n_rebuild_tensor_v2\nq\x000" + storageID(float32s, "0", 1, "") + "q\x010", body: "h\x00(h\x01K\x00))\x89}tRa", n: many, tail: "."}, ErrLimit},
		{"persistent ids", repeated{head: "]", body: "PX\na", n: many, tail: "."}, ErrLimit},
	} {
		t.Run(test.name, func(t *testing.T) {
			if k := 4096 / int64(len(test.body)); k > 1 && !test.number {
				test.body, test.n = strings.Repeat(test.body, int(k)), test.n/k
			}
			var err error
			grew := peakheap.During(func() { _, err = Read(t.Context(), &test.repeated, 0, test.size(), nil) })
			if test.want == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, test.want)
			}
			t.Logf("%d MiB read, heap grew by %d MiB", test.size()>>20, grew>>20)
			require.Less(t, grew, int64(64<<20))
		})
	}
}

// Nested so deep that any recursion would overflow: read, walked, dropped.
func TestDeepNesting(t *testing.T) {
	deep := repeated{head: "\x80\x02]", body: "\x85", n: 100_000, tail: "."}
	doc, err := Read(t.Context(), &deep, 0, deep.size(), nil)
	require.NoError(t, err)
	n := 0
	var last Value
	for v := range doc.Root.All() {
		last = v
		n++
	}
	require.Equal(t, 100_001, n)
	require.Equal(t, List, last.Kind())
	require.Less(t, len(last.Path()), 1000)
}

func TestContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	long := repeated{body: "N0", n: 1 << 40, tail: "N."}
	_, err := Read(ctx, &long, 0, long.size(), nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestMaxMemory(t *testing.T) {
	lists := repeated{head: "]", body: "]a", n: 20_000, tail: "."}
	_, err := Read(t.Context(), &lists, 0, lists.size(), &Options{MaxMemory: 1 << 20, Name: "x.pt"})
	require.ErrorIs(t, err, ErrLimit)
	require.ErrorContains(t, err, "x.pt: the pickle needs more memory than allowed")
	_, err = Read(t.Context(), &lists, 0, lists.size(), nil)
	require.NoError(t, err)
}

func FuzzPickle(f *testing.F) {
	for _, r := range readRecorded(f, "testdata/pickles.jsonl.gz") {
		if data := r.bytes(f); len(data) < 2000 {
			f.Add(data)
		}
	}
	f.Add([]byte(tensorOf(storageID(float32s, "0", 6, ""), "K\x00", "K\x02K\x03\x86", "K\x03K\x01\x86")))
	f.Add([]byte(tensorOf(storageID("torch.storage\nUntypedStorage", "0", 6, short("v")+"K\x02K\x04\x87"), "K\x01", "K\x03\x85", "K\x01\x85")))
	f.Add([]byte("\x80\x02ctransformers.training_args\nTrainingArguments\n)\x81}(X\x0a\x00\x00\x00save_stepsK\x05ub."))
	f.Add([]byte("cos\nsystem\nX\x02\x00\x00\x00id\x85R."))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := Read(t.Context(), strings.NewReader(string(data)), 0, int64(len(data)), &Options{Name: "fuzz"})
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		require.LessOrEqual(t, doc.End, int64(len(data)))
		for v := range doc.Root.All() {
			exercise(t, v)
		}
		for _, s := range doc.Storages {
			require.GreaterOrEqual(t, s.Bytes(), int64(0))
		}
		// Bytes after the pickle change nothing.
		again, err := Read(t.Context(), strings.NewReader(string(data)), 0, doc.End, nil)
		require.NoError(t, err)
		require.Equal(t, doc.End, again.End)
		require.Equal(t, doc.Root.Describe(), again.Root.Describe())
	})
}

// exercise calls what can be called on a value.
func exercise(t *testing.T, v Value) {
	require.NotEqual(t, Invalid, v.Kind())
	require.NoError(t, v.Err())
	_, _ = v.Path(), v.Describe()
	if tensor, err := v.Tensor(); err == nil {
		_ = tensor.String()
		first, room := tensor.Offset, tensor.Storage.Bytes()/tensor.DType.Size()
		for i, n := range tensor.Shape() {
			first += (n - 1) * tensor.Strides()[i]
		}
		require.True(t, tensor.Numel() == 0 || first >= 0 && first < room, "%s at %d in %d", tensor, tensor.Offset, room)
		require.True(t, !tensor.Contiguous() || tensor.Numel() == 0 || tensor.Numel() <= room-tensor.Offset)
	}
	_, err := v.Ints()
	require.True(t, err == nil || strings.Contains(err.Error(), "want"), fmt.Sprint(err))
	_, _ = v.Get("state", 0).Enum().Text()
	_, _ = v.Lookup("a", 1)
	_ = v.Args().Get(0).Kind()
	_ = v.State().IsNone()
}
