"""Random configs of a config class, reproducible by seed.

A draw is a flat dict of dotted keys. Sizes are chosen by the key's name, small and odd but divisible where constructors want it;
booleans flip, optional keys are null or set, lists vary in length together with the keys that count them, strings come from what
the constructor compares them with. What a constructor refuses is taken back key by key, so that a draw differs from the defaults
in as many keys as it can.
"""
from __future__ import annotations

import copy
import dataclasses
import inspect
import random
import re
import types
import typing
from collections import Counter, defaultdict
from typing import Any, Container

from transformers import PreTrainedConfig

from .symbols import wrap

SKIP = {f.name for f in dataclasses.fields(PreTrainedConfig)} | {
    "rope_parameters", "rope_scaling", "quantization_config", "torch_dtype", "model_type", "attn_implementation", "per_layer_config", "use_cache",
    "_attn_implementation", "initializer_range", "initializer_factor", "output_attentions", "name_or_path"}
_DULL_FLOAT = re.compile(r"dropout|drop_|_drop|eps|_eps|coef|std|range|loss|temperature|theta|prob|pdrop|weight|threshold|momentum")
SKIP_KEPT = {"is_encoder_decoder"}


@dataclasses.dataclass
class Key:
    name: str          # dotted
    default: Any       # as declared
    hint: Any          # in a default instance
    optional: bool     # None is allowed
    types: frozenset[str]
    declared: bool = True
    argument: bool = False  # of the model's constructor, not of the config

    @property
    def last(self) -> str:
        return self.name.rsplit(".", 1)[-1]

    @property
    def parent(self) -> str:
        return self.name[: len(self.name) - len(self.last)]

    literals: frozenset[str] = frozenset()  # strings that its annotation allows

    @property
    def kind(self) -> str:
        return next(kind for kind, pattern, _ in _SIZES if re.search(pattern, self.last))

    @property
    def sample(self) -> Any:
        return self.hint if self.default is None else self.default


def _types(annotation: Any) -> frozenset[str]:
    text = annotation if isinstance(annotation, str) else " ".join(str(getattr(a, "__name__", a)) for a in _flat(annotation))
    return frozenset(w for w in ("None", "int", "float", "bool", "str", "list", "tuple", "dict") if re.search(rf"\b{w}(Type)?\b", text))


def _flat(a: Any) -> list:
    if isinstance(a, types.UnionType) or typing.get_origin(a) is typing.Union:
        return [x for y in typing.get_args(a) for x in _flat(y)]
    return [a] if not typing.get_origin(a) else [a, typing.get_origin(a)]


def _plain_default(f: dataclasses.Field) -> Any:
    v = f.default
    if v is dataclasses.MISSING:
        v = f.default_factory() if f.default_factory is not dataclasses.MISSING else None
    return _lists(v)


def _lists(v: Any) -> Any:
    """Tuples as lists, as JSON has them."""
    return [_lists(x) for x in v] if isinstance(v, (list, tuple)) else v


def keys_of_config(cls: type, base: PreTrainedConfig, prefix: str = "", objects: Container[str] = ()) -> list[Key]:
    """The keys that are drawn; of those that hold an object only the ones in objects."""
    out = []
    for f in dataclasses.fields(cls):
        if f.name in cls.sub_configs or f.name in SKIP - SKIP_KEPT or f.name.startswith("_"):
            continue
        try:
            hint = getattr(base, f.name, None)
        except Exception:
            hint = None
        if isinstance(hint, PreTrainedConfig) or isinstance(hint, dict) and prefix + f.name not in objects:
            continue
        hint = _lists(hint)
        kinds = _types(f.type)
        literals = frozenset(re.findall(r"'([^']*)'", str(f.type))) if "Literal" in str(f.type) else frozenset()
        out.append(Key(prefix + f.name, _plain_default(f), hint, "None" in kinds, kinds, literals=literals))
    for k in cls.sub_configs:
        v = getattr(base, k, None)
        if isinstance(v, PreTrainedConfig):
            out += keys_of_config(type(v), v, f"{prefix}{k}.", objects)
    if not prefix:
        out.append(Key("num_labels", 2, 2, False, frozenset(["int"])))
    return out


def aliases_of(cls: type, base: PreTrainedConfig, prefix: str = "") -> dict[str, str]:
    """{other spelling: field}, dotted."""
    out = {}
    fields = {f.name for f in dataclasses.fields(cls)}
    for other, key in (cls.attribute_map or {}).items():
        if other in fields and key not in fields:  # written under the other name
            other, key = key, other
        out[prefix + other] = prefix + key
    for k in cls.sub_configs:
        v = getattr(base, k, None)
        if isinstance(v, PreTrainedConfig):
            out |= aliases_of(type(v), v, f"{prefix}{k}.")
    return out


def build(cls: type, base: PreTrainedConfig, flat: dict[str, Any], symbolic: bool, undeclared: set[str], prefix: str = "", only: set[str] | None = None, fixed: dict | None = None) -> PreTrainedConfig:
    """The config object of a draw. With only, all other keys are left to their defaults; fixed are keys that are not drawn."""
    fixed = fixed or {}
    kwargs = {k: copy.deepcopy(v) for k, v in fixed.items() if k not in cls.sub_configs}
    for k, v in flat.items():
        if not k.startswith(prefix) or "." in k[len(prefix):] or k in undeclared and v is None or only is not None and k not in only:
            continue
        v = copy.copy(v)
        kwargs[k[len(prefix):]] = wrap(v, k) if symbolic else v
    for k in cls.sub_configs:
        v = getattr(base, k, None)
        if isinstance(v, PreTrainedConfig):
            kwargs[k] = build(type(v), v, flat, symbolic, undeclared, f"{prefix}{k}.", only, fixed.get(k))
    return cls(**kwargs)


# ---- sizes by name

_SIZES = [
    ("labels", r"^num_labels$", lambda r, d: r.randrange(3, 14)),  # transformers does not write 2, which BART then reads as 3
    ("vocab", r"vocab|num_embeddings$|codebook_size$|num_tokens$|num_classes", lambda r, d: r.choice([97, 113, 131, 149, 163]) if d > 20 else d + r.choice([0, 1, 2])),
    ("token", r"(_id|_ids|_idx|_index|token_index|_token)$", lambda r, d: r.randrange(0, 12)),
    ("headdim", r"(head_dim|d_kv|head_size|_head_channels|qkv_dim|rope_dim|rotary_dim|key_dim|value_dim)$", lambda r, d: r.choice([8, 16, 24, 32])),
    ("kvheads", r"(kv_heads|key_value_heads|num_kv|head_kv|value_heads|key_heads)$", lambda r, d: r.choice([1, 2])),
    ("heads", r"head", lambda r, d: r.choice([2, 4, 6])),
    ("step", r"first_k_dense|sparse_step|_step$|period|interval|offset|_every|stride|_freq$", lambda r, d: r.choice([1, 2, 3])),
    ("pertok", r"per_tok|top_?k|topk", lambda r, d: r.choice([1, 2])),
    ("groups", r"group", lambda r, d: r.choice([1, 2, 4])),
    ("experts", r"experts", lambda r, d: r.choice([4, 6, 8])),
    ("layers", r"layers|depth|blocks|n_layer|num_stages|num_convs|num_res", lambda r, d: r.choice([1, 2, 3, 4, 5])),
    ("patch", r"patch", lambda r, d: r.choice([2, 4])),
    ("image", r"image_size|img_size|_resolution|input_size", lambda r, d: r.choice([32, 48, 64])),
    ("window", r"window", lambda r, d: r.choice([2, 4])),
    ("kernel", r"kernel|conv_dim$", lambda r, d: r.choice([1, 3, 5])),
    ("position", r"position|max_len|_length|seq", lambda r, d: r.choice([64, 72, 88, 104])),
    ("size", r"hidden|embd|embed|d_model|_dim|dim$|width|channels|_size|ffn|d_ff|inner|rank|filter|features", lambda r, d: 48 * r.choice([1, 2, 3, 4, 5, 7])),
    ("other", r"", lambda r, d: d + r.choice([0, 1, 2]) if d <= 8 else d * r.choice([1, 2])),
]


def draw_int(name: str, d: int, r: random.Random) -> int:
    for kind, pattern, f in _SIZES:
        if re.search(pattern, name):
            if kind == "size" and d <= 8:
                return max(1, d + r.choice([0, 1, 2]))
            if kind == "kernel" and d > 9:
                return 48 * r.choice([1, 2, 3])
            return f(r, d)
    raise AssertionError


_SIDES = re.compile(r"(patch|image|img|input|window|kernel|tubelet|grid|unit|background)_size$|(patch|query)_(stride|padding)$|resolution$|_shape$")  # lists of them have a side for each dimension
_ACTIVATIONS = ["gelu", "relu", "silu", "gelu_new"]
_RATIO = re.compile(r"ratio|mult|expan|scale$|factor")
_COUNTER = re.compile(r"stages|levels|num_feat_extract_layers|num_encoder_blocks|num_conv_layers|num_layers|num_hidden_layers|depth|num_upsampl")


def is_int(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)


class Sampler:
    """Draws configs for one config class. The strings and values that tracing finds are put into `strings` and `values`."""

    def __init__(self, cls: type, base: PreTrainedConfig, arguments: dict[str, Any], objects: Container[str] = ()) -> None:
        self.cls, self.base = cls, base
        self.keys = keys_of_config(cls, base, objects=objects)
        names = {k.name for k in self.keys}
        for name, default in arguments.items():
            if name not in names:
                self.keys.append(Key(name, default, default, default is None, frozenset([type(default).__name__]), argument=True))
        self.strings: dict[str, set[str]] = defaultdict(set)
        self.values: dict[str, list] = defaultdict(list)   # worth drawing: of published configs, of use sites
        self.constants: dict[str, set[int]] = defaultdict(set)  # that the constructor compares a key with
        self.derived: dict[str, set] = defaultdict(set)    # elements of lists that the config class makes
        self.compared: dict[str, set] = defaultdict(set)   # strings that such elements are compared with
        self.base_values: dict[str, Any] = {}
        self.pairs: list[tuple[str, str, bool]] = []       # numbers that change together, both alike or one against the other
        self.equals: set[tuple[str, str]] = set()          # keys that the constructor compares with each other
        self.sets: list[dict[str, Any]] = []               # values that go together, of configs to start from
        self.undeclared: set[str] = set()
        self.lengths: dict[str, str] = {}
        self._couple()
        for k in self.keys:
            self.strings[k.name] |= k.literals

    def read_source(self, text: str) -> None:
        """Takes the strings that a source compares a key with: a constructor may end before it has named them all."""
        for k in self.keys:
            if isinstance(k.sample, str) or "str" in k.types:
                for found in re.findall(rf"\b{re.escape(k.last)}\b\s*(?:==|!=|not in|in)\s*([(\[{{]?[^)\]}}:\n]*)", text):
                    self.strings[k.name] |= set(re.findall(r"""["']([\w.-]{1,30})["']""", found))
                self.strings[k.name] |= set(re.findall(rf"""["']([\w.-]{{1,30}})["']\s+(?:not )?in\s+(?:\w+\.)*{re.escape(k.last)}\b""", text))

    def by_name(self) -> dict[str, Key]:
        return {k.name: k for k in self.keys}

    def _couple(self) -> None:
        """Lists of equal length under one parent vary together, with the keys that count them."""
        lists = {k.name: len(k.sample) for k in self.keys if isinstance(k.sample, list) and len(k.sample) > 1 and not _SIDES.search(k.last) and (k.default is not None or not isinstance(k.sample[0], str))}
        for k in self.keys:
            if k.name in lists:
                self.lengths[k.name] = f"{k.parent}{lists[k.name]}"
            elif is_int(k.sample) and _COUNTER.search(k.last) and any(n == k.sample and x.rpartition(".")[0] == k.parent.rstrip(".") for x, n in lists.items()):
                self.lengths[k.name] = f"{k.parent}{k.sample}"

    def add_undeclared(self, name: str, kind: str) -> None:
        if name not in self.by_name():
            self.keys.append(Key(name, None, None, True, frozenset([kind, "None"]), declared=False))
            self.undeclared.add(name)

    def add_features(self, name: str) -> None:
        """A key that no config class declares: the stages of a backbone that give a feature map."""
        if name not in self.by_name():
            self.keys.append(Key(name, None, None, True, frozenset(["features", "None"]), declared=False))
            self.undeclared.add(name)

    def discrete(self) -> list[Key]:
        """Keys whose flip may switch parts of a model on or off."""
        return [k for k in self.keys if isinstance(k.sample, bool) or k.optional and (k.types & {"int", "bool"}) and not re.search("_ids?$", k.name)
                or len(self.strings.get(k.name, ())) > 1 or self.constants.get(k.name) or len(self.values.get(k.name, ())) > 1]

    def read_doc(self, doc: str, prefix: str) -> None:
        """Takes the strings that a docstring names for a key of one config class."""
        entries = re.split(r"^\s*(\w+) \(", doc, flags=re.M)
        for name, text in zip(entries[1::2], entries[2::2]):
            k = self.by_name().get(prefix + name)
            if k is not None and isinstance(k.sample, str):
                self.strings[k.name] |= set(re.findall(r'[`"]{1,2}["\']?([a-z][\w-]{1,24})["\']?[`"]{1,2}', text)) - {"str", "string", "optional", "int", "float", "bool"}

    def draw(self, r: random.Random, flip: Key | None = None) -> dict[str, Any]:
        lengths = {}
        for group in sorted(set(self.lengths.values())):
            n = int(group.rpartition(".")[2])
            lengths[group] = r.choice([max(1, n - 1), n, n, n + 1]) if n <= 8 else r.choice([2, 3, 4, 5])
        flat = {k.name: self._value(k, r, lengths) for k in self.keys}
        if flip is not None:
            flat[flip.name] = self._flipped(flip, flat[flip.name], r)
        self._layer_lists(flat, r)
        for a, b in sorted(self.equals):
            if r.random() < 0.12:
                flat[a] = flat[b]
        for a, b, alike in r.sample(self.pairs, min(len(self.pairs), 1)):
            x, y = self.base_values[a], self.base_values[b]
            c = r.choice([1, 2, 3, 4])
            flat |= {k: v for k, v in self.base_values.items() if k in flat}
            flat |= {a: x * c, b: y * c} if alike else {a: x * c, b: y // c} if y % c == 0 else {a: x // c, b: y * c} if x % c == 0 else {}
        if self.sets and r.random() < 0.5:
            flat |= copy.deepcopy(r.choice(self.sets))
        for k in self.keys:
            if "features" in k.types and flat[k.name] is None and r.random() < 0.8:
                flat[k.name] = self._features(flat, k.parent, r)
        return flat

    def _features(self, flat: dict[str, Any], parent: str, r: random.Random) -> list[str] | None:
        """All stages of a few, else some."""
        depths = flat.get(parent + "depths")
        n = len(depths) if isinstance(depths, list) else flat.get(parent + "num_hidden_layers") or 0
        some = range(n) if n <= 6 and r.random() < 0.6 else sorted(r.sample(range(n), r.randint(1, min(n, 4)))) if n else []
        return [f"stage{i + 1}" for i in some] or None

    def group(self, key: str) -> str:
        """What a key can only be changed together with."""
        if key in self.base_values:
            return "pairs"
        return next((f"set {sorted(x)}" for x in self.sets if key in x), self.lengths.get(key, key))

    def _value(self, k: Key, r: random.Random, lengths: dict[str, int]) -> Any:
        d, default = k.sample, k.default
        if isinstance(d, dict):
            return copy.deepcopy(d)
        if self.values.get(k.name) and r.random() < 0.3:
            return copy.copy(r.choice(self.values[k.name]))
        if self.constants.get(k.name) and r.random() < 0.12 and "float" not in k.types:
            return r.choice(sorted(self.constants[k.name]))
        if isinstance(d, bool):
            if k.optional and r.random() < (0.4 if default is None else 0.1):
                return None
            return d if r.random() < 0.6 else not d
        if is_int(d):
            if k.optional and r.random() < (0.5 if default is None else 0.12):
                return None
            if d <= 0 and not k.last.endswith("_id") and r.random() < 0.4:
                return d  # off, or to be computed
            group = self.lengths.get(k.name)
            return lengths[group] if group else draw_int(k.last, d, r)
        if isinstance(d, float):
            if k.optional and r.random() < 0.1:
                return None
            if _DULL_FLOAT.search(k.last):
                return r.choice([d, d / 2 or 0.1, 0.0])  # at 0 a constructor may leave parameters out: what masks frames, a layer's scale
            return d * r.choice([1, 1, 0.5, 2]) if _RATIO.search(k.last) and 0.01 < d < 100 else default
        if isinstance(d, str):
            if "int" in k.types and r.random() < 0.4:
                return r.choice([5, 6, 7, 9])
            if k.optional and r.random() < 0.08:
                return None
            seen = sorted(self.strings.get(k.name, ())) + (_ACTIVATIONS if k.last.endswith(("_act", "activation", "activation_function")) else [])
            return r.choice(seen) if seen and r.random() < 0.35 else default
        if "list" in k.types and self.strings.get(k.name) and not self.derived.get(k.name) and not isinstance(d, str) and all(isinstance(x, str) for x in d or []) and r.random() < 0.5:
            return [x for x in sorted(self.strings[k.name]) if r.random() < 0.5]
        if isinstance(d, list) and d:
            return self._list(k, d, r, lengths)
        if isinstance(d, list) and re.search(r"_layers$|layer_ids|layer_idx|indices|indexes", k.last):
            return "<layers>" if r.random() < 0.6 else copy.copy(default)
        if d is None and k.last.endswith("_id") and "int" in k.types:
            return r.choice([None, r.randrange(12)])
        if d is None and not k.last.endswith("_ids"):
            if "float" in k.types and "int" not in k.types and r.random() < 0.3:
                return 0.1
            if "int" in k.types and r.random() < 0.35:
                return draw_int(k.last, 64, r)
            if "bool" in k.types and r.random() < 0.4:
                return r.choice([True, False])
            if "str" in k.types and self.strings.get(k.name) and r.random() < 0.4:
                return r.choice(sorted(self.strings[k.name]))
        return copy.copy(default)

    def _list(self, k: Key, d: list, r: random.Random, lengths: dict[str, int]) -> Any:
        n = lengths.get(self.lengths.get(k.name, ""), len(d))
        if k.default is None and n == len(d) and r.random() < 0.4:
            return None
        longer = (d + [d[-1]] * 9)[:n]
        if all(is_int(x) for x in d):
            return longer if re.search(r"_ids?$|index|indices", k.name) else [draw_int(k.last, x, r) for x in longer]
        if all(isinstance(x, (int, float, str, bool)) for x in d):
            if all(isinstance(x, bool) for x in d):
                return [x if r.random() < 0.7 else not x for x in longer]
            if all(isinstance(x, str) for x in d) and k.default is None:
                return None
            return longer
        if all(isinstance(x, list) and all(is_int(y) for y in x) for x in d):
            if k.name not in self.lengths and len(d) > 1:
                longer = r.choice([d, d[:-1], d + d[-1:]])
            if r.random() < 0.5:
                longer = [r.choice([x, x[:-1] or x, x + x[-1:]]) for x in longer]
            return [[draw_int(k.last, y, r) for y in x] for x in longer]
        return copy.deepcopy(k.default)

    def _flipped(self, k: Key, v: Any, r: random.Random) -> Any:
        if isinstance(k.sample, bool):
            return not k.sample
        seen = sorted(self.strings.get(k.name, ()))
        if seen:
            return r.choice(seen + [None] * k.optional)
        if self.values.get(k.name):
            return copy.copy(r.choice(self.values[k.name]))
        if self.constants.get(k.name):
            return r.choice(sorted(self.constants[k.name]))
        if k.optional:
            return draw_int(k.last, k.sample if is_int(k.sample) else 64, r) if k.default is None and "int" in k.types else None
        return v

    def _layer_lists(self, flat: dict[str, Any], r: random.Random) -> None:
        for k in self.keys:
            n = next((flat[k.parent + c] for c in ("num_hidden_layers", "num_layers", "n_layer", "depth") if is_int(flat.get(k.parent + c))), None)
            v = flat[k.name]
            if v == "<layers>":
                flat[k.name] = [x for x in range(n) if r.random() < 0.5] if n else copy.copy(k.default)
            elif v is None and self.derived.get(k.name) and n and r.random() < 0.4:
                words = sorted(self.derived[k.name] | (self.compared[k.name] if r.random() < 0.3 else set()))
                flat[k.name] = [r.choice(words) for _ in range(n)]


def constructor_arguments(cls: type) -> dict[str, Any]:
    """The parameters of a model's constructor besides the config that are simple, with their defaults."""
    out = {}
    for p in list(inspect.signature(cls.__init__).parameters.values())[2:]:
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and (isinstance(p.default, (bool, int, str)) or p.default is None):
            out[p.name] = p.default
    return out
