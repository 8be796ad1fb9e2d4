package hfconfig_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/hfconfig"
)

// everything uses every statement and operator of the format.
const everything = `generated "test 1"
model toy-v2 (toy, toy_old) prefix model
allow unexpected "\\.inv_freq$"
allow missing "mask_token"

config
  hidden_size (n_embd, d_model) = 8
  num_layers = 2
  heads = 2 ?= num_layers
  head_dim ?= hidden_size // heads
  kinds ?= ["full" if (i + 1) % 2 == 0 else "sparse" for i < num_layers]
  depths = [1, 2]
  ratio = 2.5
  inner := int(hidden_size * ratio)
  act = "gelu"
  tied = true
  maker := null
  required_key
  by hand:
    extra = null
  vision_config: auto toy_vision {"width": 6}
  audio_config: toy_audio optional
  text_config: toy_text or self
  require hidden_size % heads == 0

block layer(n, bias)
  q, k linear [heads * head_dim, n] bias(bias)
  conv conv [n, n // 2, 3] bias
  proj conv1d [n, 2 * n] bias if act == "gelu"
  up convt [n, n, 2, 2]
  bn batchnorm [n]
  frozen: still batchnorm [n]
  "layout.odd name" param [1, n]

class ToyModel (OldToyModel) as base, image
  embed embedding [10, hidden_size]
  for i < num_layers: layers.{i} | save block.{i}:
    use layer(hidden_size, i == 0)
    if kinds[i] == "full": full norm [hidden_size] bias
    else:
      sparse norm [hidden_size]
      let twice = 2 * (i + 1)
      by hand:
        more.{i+1} param [twice, -depths[-1] + 4]
  for 1 <= j < 3: for d in depths: pair.{j}.{d} buffer []
  layout native: experts param [2, 4]
  layout save hub: for e < 2: experts.{e} param [4]
  optional: position_ids buffer [1, max(3, 2)]
  if audio_config is not null: audio: use toy_audio.tower with audio_config
  vision | hub tower.vision: use @base with vision_config
  . | save tail: last param [round(2.5), ceil(2.1), floor(2.9), abs(-3), len(depths[0:1]), sum(depths), min(depths)]
  text param [text_config.words]

class ToyForCausalLM as causal
  model: use @base
  head linear [10, hidden_size]
  tie head.weight = model.embed.weight if tied
  allow unexpected "ignored"

model toy_vision
config
  width = 4
block tower
  w param [width]
class ToyVision as base
  use tower

model toy_audio
config
  width = 4
block tower
  a param [width]

model toy_text
config
  words (vocabulary) = 5
`

func parseArch(t testing.TB, text string) *hfconfig.Arch {
	a, err := hfconfig.ParseArch([]byte(text))
	require.NoError(t, err)
	return a
}

func expect(t testing.TB, arch, config string) (*hfconfig.Expectation, error) {
	c, err := hfconfig.Parse([]byte(config))
	require.NoError(t, err)
	return hfconfig.Builtin().With(parseArch(t, arch)).Expect(c, nil)
}

func TestFormat(t *testing.T) {
	a := parseArch(t, everything)
	require.Equal(t, []string{"toy-v2", "toy", "toy_old", "toy_vision", "toy_audio", "toy_text"}, a.ModelTypes())
	require.Equal(t, []string{"ToyModel", "ToyForCausalLM"}, a.Classes("toy-v2"))

	x, err := expect(t, everything, `{"model_type": "toy", "architectures": ["OldToyModel"], "d_model": 4, "required_key": 0, "vocabulary": 7}`)
	require.NoError(t, err)
	require.Equal(t, "toy-v2", x.ModelType)
	require.Equal(t, "ToyModel", x.Architecture)
	require.Equal(t, []hfconfig.Layout{hfconfig.Save, hfconfig.Native, hfconfig.Hub}, x.Layouts())
	want := map[string][]uint64{
		"embed.weight": {10, 4}, "block.0.q.weight": {4, 4}, "block.0.q.bias": {4}, "block.0.k.weight": {4, 4}, "block.0.k.bias": {4},
		"block.0.sparse.weight": {4}, "block.0.more.1": {2, 2},
		"block.1.q.weight": {4, 4}, "block.1.k.weight": {4, 4}, "block.1.full.weight": {4}, "block.1.full.bias": {4},
		"pair.1.1": {}, "pair.1.2": {}, "pair.2.1": {}, "pair.2.2": {}, "experts.0": {4}, "experts.1": {4},
		"vision.w": {6}, "tail.last": {2, 3, 2, 3, 1, 3, 1}, "text": {7},
	}
	for _, layer := range []string{"block.0.", "block.1."} {
		for name, shape := range map[string][]uint64{
			"conv.weight": {4, 2, 3}, "conv.bias": {4}, "proj.weight": {4, 8}, "proj.bias": {8}, "up.weight": {4, 4, 2, 2},
			"bn.weight": {4}, "bn.bias": {4}, "bn.running_mean": {4}, "bn.running_var": {4}, "bn.num_batches_tracked": {},
			"still.weight": {4}, "still.bias": {4}, "still.running_mean": {4}, "still.running_var": {4}, "layout.odd name": {1, 4},
		} {
			want[layer+name] = shape
		}
	}
	require.Equal(t, want, x.Tensors(hfconfig.Save))
	require.Equal(t, map[string][]uint64{"position_ids": {1, 3}}, x.Optional(hfconfig.Hub))
	native, hub := x.Tensors(hfconfig.Native), x.Tensors(hfconfig.Hub)
	require.Equal(t, []uint64{2, 4}, native["experts"])
	require.Contains(t, native, "layers.0.q.weight")
	require.Contains(t, native, "last")
	require.Contains(t, hub, "tower.vision.w")
	require.Contains(t, hub, "block.0.q.weight")

	var modules []string
	for m := range x.Modules() {
		modules = append(modules, m.Path+" "+m.Kind.String()+" "+m.Name(hfconfig.Save))
		if m.Path == "layers.0.proj" {
			require.Equal(t, [3]uint64{4, 8, 1}, [3]uint64{m.In, m.Out, map[bool]uint64{true: 1}[m.Bias]})
		}
	}
	require.Contains(t, modules, "layers.0.q linear block.0.q")
	require.Contains(t, modules, "experts param ")
	require.NotContains(t, strings.Join(modules, "\n"), "experts.0")

	x, err = expect(t, everything, `{"model_type": "toy_old", "architectures": ["ToyForCausalLM"], "audio_config": {"width": 3}, "required_key": 1,
		"vision_config": {"model_type": "toy_audio"}, "text_config": {}}`)
	require.ErrorIs(t, err, hfconfig.ErrUnknownModel, "toy_audio has no class with the role base")
	require.Nil(t, x)
	x, err = expect(t, everything, `{"model_type": "toy_old", "architectures": ["ToyForCausalLM"], "audio_config": {"width": 3}, "required_key": 1, "text_config": {}}`)
	require.NoError(t, err)
	got := x.Tensors(hfconfig.Native)
	require.Equal(t, []uint64{3}, got["model.audio.a"])
	require.Equal(t, []uint64{5}, got["model.text"])
	require.NotContains(t, got, "head.weight")
	require.Equal(t, [][]string{{"model.embed.weight", "head.weight"}}, x.Tied())
	require.Equal(t, []uint64{10, 8}, x.Optional(hfconfig.Save)["head.weight"])
}

// A copy that is not written makes no layout of its own.
func TestTiedAwayRowsMakeNoLayout(t *testing.T) {
	const arch = `model m
config
  tied = true
class C as base
  embed embedding [3, 2]
  head | save old_head linear [3, 2]
  tie head.weight = embed.weight if tied
`
	for config, want := range map[string][]hfconfig.Layout{
		`{"model_type": "m"}`:                {hfconfig.Save},
		`{"model_type": "m", "tied": false}`: {hfconfig.Save, hfconfig.Native},
	} {
		x, err := expect(t, arch, config)
		require.NoError(t, err)
		require.Equal(t, want, x.Layouts(), config)
	}
}

// TestParts holds what a model takes of another type: keys by the names that the
// type itself has, hub names only where the part is loaded as it stands alone.
func TestParts(t *testing.T) {
	const arch = `model m
config
  free: auto usual
  fixed: usual
class C as base
  free: use @base with free
  fixed: use @base with fixed
  width param [free.width]
model usual
config
  d (width, w) = 1
class U as base
  . | hub inner: x param [d]
  layout native save: y param [1]
  layout hub: z param [1]
model unusual
config
  w = 2
class V as base
  v param [w]
`
	x, err := expect(t, arch, `{"model_type": "m", "fixed": {"w": 5}}`)
	require.NoError(t, err)
	require.Equal(t, []hfconfig.Layout{hfconfig.Save, hfconfig.Hub}, x.Layouts())
	require.Equal(t, map[string][]uint64{"free.x": {1}, "free.y": {1}, "fixed.x": {5}, "fixed.y": {1}, "width": {1}}, x.Tensors(hfconfig.Save))
	require.Equal(t, map[string][]uint64{"free.inner.x": {1}, "free.z": {1}, "fixed.x": {5}, "fixed.y": {1}, "width": {1}}, x.Tensors(hfconfig.Hub))

	x, err = expect(t, arch, `{"model_type": "m", "free": {"model_type": "unusual", "w": 7}}`)
	require.NoError(t, err)
	require.Equal(t, []uint64{7}, x.Tensors(hfconfig.Save)["width"])
}

func TestSchemaErrors(t *testing.T) {
	const head = "model m\nconfig\n  a = 1\n"
	for _, tt := range []struct{ text, want string }{
		{"", "line 1, column 1: the file describes no model"},
		{"config\n", "line 1, column 1: a file starts with a model section"},
		{"model\n", `line 1, column 6: want a model type, found the end of the line`},
		{head + "  a = 2\n", "line 4, column 3: key a is described twice"},
		{head + "  b = 1 +\n", "line 4, column 10: want a config key, found the end of the line"},
		{head + "  b = foo(1)\n", "line 4, column 7: there is no function foo"},
		{head + "  b = 08x\n", `line 4, column 7: "08x" is no number`},
		{head + "\tb = 1\n", "line 4, column 1: tabs"},
		{head + "class C\n  x linear [a]\n", "line 5, column 5: a linear has 2 to 2 dimensions, not 1"},
		{head + "class C\n  x lin [a]\n", "line 5, column 5: want a kind"},
		{head + "class C\n  x embedding [a, a] bias\n", "an embedding"},
		{head + "class C\n  for i < a:\n", "line 5, column 13: nothing stands below this line"},
		{head + "class C\n  x param [a]\n    y param [a]\n", "line 6, column 5: the line is indented by 4, its neighbours by 2"},
		{head + "class C\n  else: x param [a]\n", "line 5, column 7: else follows no if"},
		{head + "class C\n  x | disk y param [a]\n", "want a layout"},
		{head + "class C\n  x param [[a for i < 3]]\n", "line 5, column 15: a list is computed in the config section only"},
		{head + "class C\n  for if < 3: x param []\n", "line 5, column 7: want a value"},
		{head + "class C\nclass C\n", "line 5, column 7: class C is described twice"},
		{head + "block b(if)\n", `line 4, column 9: "if" has a meaning of its own`},
		{head + `allow unexpected "("` + "\n", "line 4, column 18: the pattern"},
		{head + "  b = " + strings.Repeat("(", 100) + "\n", "nested more than 60 deep"},
		{head + "  b = " + strings.Repeat("1", 20000) + "\n", "line 4, column 16384: the line is too long"},
	} {
		_, err := hfconfig.ParseArch([]byte(tt.text))
		var e *hfconfig.SchemaError
		require.ErrorAs(t, err, &e, tt.text)
		require.ErrorContains(t, err, strings.TrimPrefix(tt.want, "an "), tt.text)
	}
}

func TestSubConfigOverDefaults(t *testing.T) {
	const arch = `model m
config
  part: auto part over {"w": 3}
class M as base
  part: use @base with part
model part
config
  w = 1
  v = 2
class P as base
  x param [w, v]
`
	for part, want := range map[string][]uint64{`null`: {3, 2}, `{}`: {3, 2}, `{"v": 5}`: {3, 5}, `{"w": 4, "v": 5}`: {4, 5}} {
		x, err := expect(t, arch, `{"model_type": "m", "part": `+part+`}`)
		require.NoError(t, err)
		require.Equal(t, want, x.Tensors(hfconfig.Save)["part.x"], part)
	}
	_, err := hfconfig.ParseArch([]byte("model m\nconfig\n  part: auto part over [1]\n"))
	require.ErrorContains(t, err, "want a JSON object")
}

func TestSchemaMistakesShowWhenUsed(t *testing.T) {
	for _, tt := range []struct{ body, want string }{
		{"class C as base\n  use nowhere\n", "has no block nowhere"},
		{"block b(x)\n  y param [x]\nclass C as base\n  use b\n", "takes 1 arguments, not 0"},
		{"block b\n  use b\nclass C as base\n  use b\n", "in a circle"},
		{"class C as base\n  x param [b]\n", "uses key b and does not describe it"},
		{"class C as base\n  x param [a.b]\n", "uses the sub-config a and does not describe it"},
		{"class C as base\n  x param [c]\n", "its value depends on itself"},
		{"class C as base\n  x.{e} param [1]\n", `"s.t": want a whole number or the name of a module`},
		{"class C as base\n  x.{true} param [1]\n", "true: want a whole number or the name of a module"},
		{"class C as base\n  x param [a / 2]\n", "a / 2: want a whole number, found 0.5"},
		{"class C as base\n  for i < 2000000: for j < 2000000: if i < 0: x param []\n", "too much work"},
		{"class C as base\n  for i < 2000: for j < 2000: x.{i}.{j} param []\n", "more than 250000 tensors"},
		{"class C as base\n  x param [2 ** 62]\n", "is no size"},
		{"class C as base\n  x param [3 ** 60]\n", "3 ** 60: the number is beyond 64 bits"},
		{"class C as base\n  x param [" + strings.Repeat("2 ** 30, ", 7) + "1]\n", "too large to count"},
		{"block b\n" + strings.Repeat("  x param []\n", 10) + blowUp(12) + "class C as base\n  use b12\n", "too much work"},
	} {
		_, err := expect(t, "model m\nconfig\n  a = 1\n  c = c\n  d = \"s\"\n  e = \"s.t\"\n"+tt.body, `{"model_type": "m"}`)
		require.ErrorContains(t, err, tt.want, tt.body)
	}
}

// blowUp returns blocks that use each other, ten times each.
func blowUp(n int) string {
	var b strings.Builder
	b.WriteString("block b0\n  use b\n")
	for i := 1; i <= n; i++ {
		b.WriteString("block b" + string("0123456789abcdef"[i%16]) + strings.Repeat("_", i/16) + "\n")
		b.WriteString(strings.Repeat("  use b"+string("0123456789abcdef"[i-1])+"\n", 10))
	}
	return strings.ReplaceAll(strings.ReplaceAll(b.String(), "ba\n", "b10\n"), "bb\n", "b11\n") + "block b12\n  use b9\n  use b10\n"
}

// A block means the keys of its own type: of another that stands there it says nothing.
func TestBlockOfAnotherType(t *testing.T) {
	const schema = `
model toy
config
  part: auto toy_part
class Toy as base
  use toy_part.all with part
model toy_part
config
  width = 3
block all
  w param [width]
model toy_other
config
  width = 4
`
	x, err := expect(t, schema, `{"model_type": "toy", "part": {"model_type": "toy_part"}}`)
	require.NoError(t, err)
	require.Equal(t, map[string][]uint64{"w": {3}}, x.Tensors(hfconfig.Save))
	_, err = expect(t, schema, `{"model_type": "toy", "part": {"model_type": "toy_other"}}`)
	require.ErrorIs(t, err, hfconfig.ErrUnknownModel)
	require.ErrorContains(t, err, "part of type toy_part is known, not of type toy_other")
}

func TestPlain(t *testing.T) {
	x, err := expect(t, `model m
block body
  a | save b | hub c norm [2]
  layout native: joined param [2, 4]
  layout save hub: for e < 2: parts.{e} param [4]
class C as base
  plain: alone: use body
  within: use body
`, `{"model_type": "m"}`)
	require.NoError(t, err)
	alone := map[string][]uint64{"alone.a.weight": {2}, "alone.joined": {2, 4}}
	for layout, within := range map[hfconfig.Layout]map[string][]uint64{
		hfconfig.Native: {"within.a.weight": {2}, "within.joined": {2, 4}},
		hfconfig.Save:   {"within.b.weight": {2}, "within.parts.0": {4}, "within.parts.1": {4}},
		hfconfig.Hub:    {"within.c.weight": {2}, "within.parts.0": {4}, "within.parts.1": {4}},
	} {
		maps.Copy(within, alone)
		require.Equal(t, within, x.Tensors(layout), layout)
	}
}

func TestTiedModules(t *testing.T) {
	x, err := expect(t, `model m
config
  both = true
block part
  for i < 2: layers.{i}:
    proj linear [3, 2] bias(i == 1)
    bn batchnorm [3]
  scale param [3]
class C as base
  outer:
    first: use part
    tie second.part = first if both: use part
    tie third = first if not both: scale param [3]
`, `{"model_type": "m"}`)
	require.NoError(t, err)
	require.Len(t, x.Tensors(hfconfig.Save), 15)
	require.Len(t, x.Tied(), 14)
	for _, group := range x.Tied() {
		require.Equal(t, strings.Replace(group[0], "outer.first.", "outer.second.part.", 1), group[1])
		require.Contains(t, x.Tensors(hfconfig.Save), group[0])
	}
}

func TestKeysOfAnObject(t *testing.T) {
	const schema = "model m\nconfig\n  o = null\n  s: m optional\nclass C as base\n  if keys(o) == %s and keys(s) == %s: ok param []\n"
	for config, want := range map[string][2]string{
		`{"model_type": "m"}`:                                                 {"[]", "[]"},
		`{"model_type": "m", "o": null, "s": {}}`:                             {"[]", "[]"},
		`{"model_type": "m", "o": {"b": 1, "a": {"c": 2}}, "s": {"o": null}}`: {`["a", "b"]`, `["o"]`},
	} {
		x, err := expect(t, fmt.Sprintf(schema, want[0], want[1]), config)
		require.NoError(t, err, config)
		require.Equal(t, 1, x.Len(), config)
	}
	_, err := expect(t, fmt.Sprintf(schema, "[]", "[]"), `{"model_type": "m", "o": 1}`)
	require.ErrorContains(t, err, "want one object")
}

func TestExpressions(t *testing.T) {
	for text, want := range map[string]string{
		"7 // 2": "3", "-7 // 2": "-4", "-7 % 3": "2", "7 % -3": "-2", "2 ** 10": "1024", "-2 ** 2": "-4", "2 ** -1": "0.5", "(-1) ** 65": "-1", "0 ** 100": "0",
		"7 / 2": "3.5", "int(7.9)": "7", "int(-7.9)": "-7", "round(0.5)": "0", "round(1.5)": "2", "ceil(7 / 2)": "4", "floor(-0.5)": "-1", "abs(-2)": "2", "int(true)": "1",
		"1 if 0 else 2": "2", "0 or 3": "3", "1 and null": "null", "not 0": "true", "1 < 2 and 2 < 3": "true", "3 in [1, 2]": "false", "3 not in [1, 2]": "true",
		`"gated-" in "gated-gelu"`: "true", `"b" not in "abc"`: "false", "null is null": "true", "0 is null": "false", "1 is not null": "true", "true is true": "true", "1 is true": "false",
		"[1, 2, 3][-1]": "3", "[1, 2, 3][1:]": "[2,3]", "[1, 2, 3][:-1]": "[1,2]", "len([1, 2])": "2", "sum([1, 2])": "3", "prod([2, 3, 2.5])": "15.0", "prod([])": "1", "log2(1024)": "10.0", "ceil(log2(1025))": "11", "max(1, 2.5)": "2.5", "min([3, 2])": "2",
		"[i * 2 for i < 3]": "[0,2,4]", "islist([1])": "true", "islist(1)": "false", `"a" == "a"`: "true", "1 == 1.0": "true", `1 == "1"`: "false", "1 == true": "false",
		"1 - 2 - 3": "-4", "2 * 3 + 4": "10", "2 + 3 * 4": "14", "1.5e3": "1500.0", "9223372036854775807 + 0": "9223372036854775807",
		`split("3, 4", ",")`: `["3", " 4"]`, `int(" 4")`: "4", `split("", ",")`: `[""]`, `"FSé"[-1]`: `"é"`, "primes(7, 3)": "[7, 11, 13]", "primes(-5, 2)": "[2, 3]", "primes(90, 0)": "[]", "primes(561, 1)[0]": "563",
		"factors(40)": "[2, 2, 2, 5]", "factors(1)": "[]", "bisect([1, 3, 5], 3)": "1", "bisect([1, 3], 9)": "2", "bisect([], 0)": "0",
	} {
		x, err := expect(t, "model m\nconfig\n  x := "+text+"\n  y := "+want+"\nclass C as base\n  if x == y and islist(x) == islist(y): ok param []\n", `{"model_type": "m"}`)
		require.NoError(t, err, text)
		require.Equal(t, 1, x.Len(), "%s should be %s", text, want)
	}
	for text, want := range map[string]string{
		"1 // 0": "division by zero", "1.0 % 0": "division by zero", `"a" + 1`: "is no number", "[1][1]": "has no element 1", `"a"[1]`: "has no element 1", "1[0]": "want a list", "1 in 2": "is no list",
		"9223372036854775807 + 1": "beyond 64 bits", "-9223372036854775807 - 2": "beyond 64 bits", "4611686018427387904 * 2": "beyond 64 bits", "10 ** 19": "beyond 64 bits",
		"null * 2": "null is no number", `"a" < 1`: "both sides must be numbers", "sum(1)": "want one list", "log2(0)": "has no logarithm", "log2(null)": "has no logarithm", "int(null)": "null is no number", "max()": "at least one", "[0 for i < 10000000]": "a list of 10000000",
		`int("x")`: `"x" is no whole number`, `"ab"[2]`: "has no element 2", `split(1, ",")`: "want a string", `split("a", "")`: "want a string", "factors(0)": "at least 1", "prod(1)": "want one list", "bisect(1, 2)": "want a list", `bisect(["a"], 2)`: "must be numbers", "primes(1, 10000)": "up to 4096", "primes(9223372036854775806, 1)": "want two whole numbers",
	} {
		_, err := expect(t, "model m\nconfig\n  x := "+text+"\nclass C as base\n  p param [x]\n", `{"model_type": "m"}`)
		require.ErrorContains(t, err, want, text)
	}
}

func TestObjectsInExpressions(t *testing.T) {
	schema := "model m\nconfig\n  layers = null\n  i = 7\nclass C as base\n  p param [get(get(layers, i, null), \"d\", 3)]\n"
	for layers, want := range map[string]uint64{
		`null`: 3, `{}`: 3, `{"07": {"d": 5}, "8": {"d": 6}}`: 5, `{"7": {}, "x": 1}`: 3, `{"7": null}`: 3,
	} {
		x, err := expect(t, schema, `{"model_type": "m", "layers": `+layers+`}`)
		require.NoError(t, err, layers)
		require.Equal(t, map[string][]uint64{"p": {want}}, x.Tensors(hfconfig.Native), layers)
	}
	for config, want := range map[string]string{
		`{"07": {}, "7": {}}`: `"07" and "7" are the same key`, `[1]`: "[1] is no object", `{"7": 1}`: "1 is no object", `{}, "i": [1]`: "[1]",
	} {
		_, err := expect(t, schema, `{"model_type": "m", "layers": `+config+`}`)
		require.ErrorContains(t, err, want, config)
	}
}

func TestSubConfigIsChecked(t *testing.T) {
	const schema = `model m
config
  part: part
class Block as base
  use part.block with part
class Role
  use @base with part
model part
config
  n = 1
  known n < 3
block block
  w param [n]
class Part as base
  use block
`
	for _, class := range []string{"Block", "Role"} {
		_, err := expect(t, schema, `{"model_type": "m", "architectures": ["`+class+`"], "part": {"n": 2}}`)
		require.NoError(t, err, class)
		_, err = expect(t, schema, `{"model_type": "m", "architectures": ["`+class+`"], "part": {"n": 3}}`)
		require.ErrorIs(t, err, hfconfig.ErrUnknownModel, class)
	}
}

func TestOldLayerTypes(t *testing.T) {
	schema := "model m\nconfig\n  types (layer_types) = null\n  other = null\nclass C as base\n" +
		"  for i < len(types): if types[i] == \"full_attention\": p.{i} param []\n  for i < len(other): if other[i] == \"full_attention\": q.{i} param []\n"
	x, err := expect(t, schema, `{"model_type": "m", "layer_types": ["attention", "mamba", "full_attention", 3], "other": ["attention"]}`)
	require.NoError(t, err)
	require.Equal(t, map[string][]uint64{"p.0": {}, "p.2": {}}, x.Tensors(hfconfig.Native))
}

func TestLayersThatDiffer(t *testing.T) {
	schema := "model m\nconfig\n  d (dim) = 4\n  described = 1\nclass C as base\n  p param [d]\n"
	for layers, known := range map[string]bool{
		`null`: true, `{}`: true, `{"0": {"other": 5}}`: true, `{"0": {"d": 4, "skip": []}}`: true,
		`{"0": {"d": 5}}`: false, `{"0": {"dim": 5}}`: false, `{"1": {"skip": ["mlp"]}}`: false,
	} {
		_, err := expect(t, schema, `{"model_type": "m", "per_layer_config": `+layers+`}`)
		if known {
			require.NoError(t, err, layers)
		} else {
			require.ErrorIs(t, err, hfconfig.ErrUnknownModel, layers)
		}
		_, err = expect(t, strings.ReplaceAll(schema, "described = 1", "per_layer_config = null"), `{"model_type": "m", "per_layer_config": `+layers+`}`)
		require.NoError(t, err, layers)
	}
}

func TestFlatSubConfigOfAnyType(t *testing.T) {
	schema := "model m\nconfig\n  text_config: auto a or self\nclass C as base\n  text: use @base with text_config\n" +
		"model a\nconfig\n  d = 1\nclass A as base\n  a param [d]\nmodel b\nconfig\n  d = 2\nclass B as base\n  b param [d]\n"
	for config, want := range map[string]map[string][]uint64{
		`"d": 7`: {"text.a": {7}}, `"text_config": {"d": 5}`: {"text.a": {5}}, `"text_config": {"model_type": "b"}`: {"text.b": {2}},
	} {
		x, err := expect(t, schema, `{"model_type": "m", `+config+`}`)
		require.NoError(t, err, config)
		require.Equal(t, want, x.Tensors(hfconfig.Native), config)
	}
}
