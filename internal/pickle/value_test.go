package pickle

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A rank's file in small: the dict of a DeepSpeed optimizer.
const optimState = "\x80\x04}(" + "\x8c\x14optimizer_state_dict}(" +
	"\x8c\x0azero_stagecdeepspeed.runtime.zero.config\nZeroStageEnum\nK\x02\x85R" +
	"\x8c\x05state]}(\x8c\x04stepG@\x14\x00\x00\x00\x00\x00\x00\x8c\x07exp.avgNua" +
	"\x8c\x05shapectorch\nSize\nK\x02K\x03\x86\x85R" +
	"\x8c\x05dtypectorch\nfloat16\n" +
	"K\x07\x88u" + "u."

func TestAccessors(t *testing.T) {
	doc, err := Read(t.Context(), strings.NewReader(optimState), 0, int64(len(optimState)), &Options{Name: "optim_states.pt"})
	require.NoError(t, err)
	require.Equal(t, []string{"deepspeed.runtime.zero.config.ZeroStageEnum"}, doc.Inert)
	root := doc.Root.Get("optimizer_state_dict")

	stage, err := root.Get("zero_stage").Enum().Int()
	require.NoError(t, err)
	require.EqualValues(t, 2, stage)
	step, err := root.Get("state", 0, "step").Float()
	require.NoError(t, err)
	require.Equal(t, 5.0, step)
	shape, err := root.Get("shape").Ints()
	require.NoError(t, err)
	require.Equal(t, []int64{2, 3}, shape)
	dtype, err := root.Get("dtype").DType()
	require.NoError(t, err)
	require.Equal(t, "float16", dtype.String())
	seven, err := root.Get(7).Bool()
	require.NoError(t, err)
	require.True(t, seven)

	for _, test := range []struct {
		name string
		err  func() error
		want string
	}{
		{"tensor", func() error { _, err := root.Get("state", 0, "step").Tensor(); return err },
			"optim_states.pt: .optimizer_state_dict.state[0].step: want a tensor, found the float 5 (at byte 97)"},
		{"quoted key", func() error { _, err := root.Get("state", 0, "exp.avg").Tensor(); return err },
			`optim_states.pt: .optimizer_state_dict.state[0]["exp.avg"]: want a tensor, found None (at byte 97)`},
		{"inert", func() error { _, err := root.Get("zero_stage").Int(); return err },
			"optim_states.pt: .optimizer_state_dict.zero_stage: want an int, found an object of deepspeed.runtime.zero.config.ZeroStageEnum (at byte 88)"},
		{"missing key", func() error { _, err := root.Get("stage").Int(); return err },
			"optim_states.pt: .optimizer_state_dict: .stage is missing: a dict of 5 has no such key (at byte 26)"},
		{"missing index", func() error { _, err := root.Get("state", 3, "step").Float(); return err },
			"optim_states.pt: .optimizer_state_dict.state: [3] is missing: it is a list of 1 (at byte 96)"},
		{"no dict", func() error { _, err := root.Get("dtype", "x").Text(); return err },
			"optim_states.pt: .optimizer_state_dict.dtype: want a dict, found the dtype float16 (at byte 26)"},
		{"bool is no int", func() error { _, err := root.Get(7).Int(); return err },
			"optim_states.pt: .optimizer_state_dict[7]: want an int, found True (at byte 26)"},
		{"ints", func() error { _, err := root.Get("state").Ints(); return err },
			"optim_states.pt: .optimizer_state_dict.state[0]: want an int, found a dict of 2 (at byte 97)"},
		{"items", func() error { _, err := root.Get("state").Items(); return err },
			"optim_states.pt: .optimizer_state_dict.state: want a dict, found a list of 1 (at byte 96)"},
		{"elems", func() error { _, err := root.Elems(); return err },
			"optim_states.pt: .optimizer_state_dict: want a list, found a dict of 5 (at byte 26)"},
		{"zero Value", func() error { _, err := Value{}.Int(); return err }, "no value"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.err()
			require.ErrorIs(t, err, ErrType)
			require.EqualError(t, err, test.want)
		})
	}

	var keys []string
	items, err := root.Items()
	require.NoError(t, err)
	for k, v := range items {
		keys = append(keys, k.Describe()+" "+v.Kind().String())
	}
	require.Equal(t, []string{`the string "zero_stage" an object`, `the string "state" a list`, `the string "shape" a tuple`, `the string "dtype" a dtype`, "the int 7 a bool"}, keys)

	_, found := root.Lookup("state", 0, "exp_avg")
	require.False(t, found)
	v, found := root.Lookup("dtype", "x") // a dtype has no keys: an error, not a missing key
	require.True(t, found)
	require.ErrorIs(t, v.Err(), ErrType)
}

// Equal keys are one, as in Python, and the last value wins in the first place.
func TestDictKeys(t *testing.T) {
	doc, err := readBytes(t, []byte("}(K\x01\x8c\x01aG?\xf0\x00\x00\x00\x00\x00\x00\x8c\x01b\x88\x8c\x01c\x8c\x011\x8c\x01du."))
	require.NoError(t, err)
	require.Equal(t, 2, doc.Root.Len())
	s, err := doc.Root.Get(1).Text()
	require.NoError(t, err)
	require.Equal(t, "c", s)
	s, err = doc.Root.Get("1").Text()
	require.NoError(t, err)
	require.Equal(t, "d", s)

	var pairs strings.Builder
	for i := range 200 { // each key twice
		pairs.WriteString("K" + string([]byte{byte(i % 100)}) + "K" + string([]byte{byte(i)}))
	}
	doc, err = readBytes(t, []byte("}("+pairs.String()+"u."))
	require.NoError(t, err)
	require.Equal(t, 100, doc.Root.Len())
	for i := range 100 {
		got, err := doc.Root.Get(i).Int()
		require.NoError(t, err)
		require.EqualValues(t, 100+i, got)
	}
	_, found := doc.Root.Lookup(100)
	require.False(t, found)
}

// Callers extend the allow-list; without one, everything is inert.
func TestRules(t *testing.T) {
	rules := Torch()
	rules["deepspeed.runtime.zero.config.ZeroStageEnum"] = Enum
	doc, err := Read(t.Context(), strings.NewReader(optimState), 0, int64(len(optimState)), &Options{Rules: rules})
	require.NoError(t, err)
	stage, err := doc.Root.Get("optimizer_state_dict", "zero_stage").Int()
	require.NoError(t, err)
	require.EqualValues(t, 2, stage)
	require.Empty(t, doc.Inert)

	doc, err = Read(t.Context(), strings.NewReader(optimState), 0, int64(len(optimState)), &Options{Rules: Rules{}})
	require.NoError(t, err)
	require.Equal(t, Inert, doc.Root.Get("optimizer_state_dict", "dtype").Kind())
	require.Equal(t, []string{"deepspeed.runtime.zero.config.ZeroStageEnum", "torch.Size", "torch.float16"}, doc.Inert)
}

// The state of an object may be a dict, or a pair of a dict and one of slots.
func TestState(t *testing.T) {
	doc, err := readBytes(t, []byte("ca\nb\n)\x81}\x8c\x01xK\x01s}\x8c\x01yK\x02s\x86b."))
	require.NoError(t, err)
	for key, want := range map[string]int64{"x": 1, "y": 2} {
		got, err := doc.Root.Get(key).Int()
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.Equal(t, Tuple, doc.Root.State().Kind())
	require.Equal(t, 0, doc.Root.Args().Len())
	require.Equal(t, ".state()[1].y", doc.Root.State().Get(1, "y").Path())
	require.ErrorIs(t, doc.Root.State().Args().Err(), ErrType)

	doc, err = readBytes(t, []byte("ccollections\nOrderedDict\n)R\x8c\x01aK\x01s}\x8c\x09_metadataNsb.")) // dropped
	require.NoError(t, err)
	require.Equal(t, 1, doc.Root.Len())
	_, err = readBytes(t, []byte(strings.TrimSuffix(tensorOf(storageID(float32s, "0", 6, ""), "K\x00", "K\x06\x85", "K\x01\x85"), ".")+"}b."))
	require.ErrorContains(t, err, "BUILD on a tensor float32 [6]")
}

func TestTensorMethods(t *testing.T) {
	s := &Storage{Key: "0", DType: dtypeNamed("float32"), Numel: 100, size: 100}
	for _, test := range []struct {
		shape, strides []int64
		contiguous     bool
	}{
		{[]int64{2, 3}, []int64{3, 1}, true},
		{[]int64{2, 3}, []int64{1, 2}, false},
		{[]int64{2, 3}, []int64{4, 1}, false},
		{[]int64{1, 3}, []int64{77, 1}, true}, // the stride of a dimension of 1 is of no effect
		{[]int64{3, 1}, []int64{1, 9}, true},
		{[]int64{0, 3}, []int64{9, 9}, true},
		{[]int64{}, []int64{}, true},
		{[]int64{4}, []int64{0}, false},
	} {
		tensor, err := newTensor(s, s.DType, 0, test.shape, test.strides)
		require.NoError(t, err)
		require.Equal(t, test.contiguous, tensor.Contiguous(), "%v %v", test.shape, test.strides)
		require.Equal(t, test.shape, append([]int64{}, tensor.Shape()...))
	}
	for d := DType(1); int(d) < len(dtypes); d++ {
		require.Equal(t, d, dtypeNamed(d.String()))
		require.Positive(t, d.Size())
	}
}

// A list of 10,000 tensors, each of a storage that is named anew.
func BenchmarkRead(b *testing.B) {
	tensors := repeated{head: "]ctorch._utils\n_rebuild_tensor_v2\nq\x000", body: "h\x00(" + storageID(float32s, "0", 6, "") + "K\x00K\x02K\x03\x86K\x03K\x01\x86\x89}tRa", n: 10_000, tail: "."}
	data := make([]byte, tensors.size())
	_, err := tensors.ReadAt(data, 0)
	require.NoError(b, err)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := readBytes(b, data)
		require.NoError(b, err)
	}
}
