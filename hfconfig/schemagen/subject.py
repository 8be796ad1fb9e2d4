"""One model class: its configs drawn, its models built with and without symbols."""
from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import itertools
import json
import random
import re
import sys
from collections import Counter, defaultdict
from typing import Any, Callable, Container

import torch
from transformers import PreTrainedConfig
from transformers.backbone_utils import BackboneConfigMixin

from . import observe, shapes
from .expressions import Env
from .sampler import Key, Sampler, aliases_of, build, constructor_arguments, draw_int, is_int
from .symbols import Recorder, SymList, expr, patch_modules, paused, plain, symbolic, wrap

Flat = dict[str, Any]


class Asked:
    """Keys that constructors ask for although the config class does not declare them (getattr(config, "head_dim", None)), and keys read."""

    names: set[tuple[str, str]] = set()
    read: set[tuple[str, str]] = set()


def install() -> None:
    """Patches transformers for tracing; once per process."""
    shapes.install()
    observe.install()

    def missing(self: PreTrainedConfig, name: str) -> Any:
        if Recorder.on and not name.startswith("_") and sys._getframe(1).f_globals.get("__name__", "").startswith("transformers.models."):
            Asked.names.add((type(self).__name__, name))
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    PreTrainedConfig.__getattr__ = missing
    plain_get = PreTrainedConfig.__getattribute__

    def get(self: PreTrainedConfig, name: str) -> Any:
        v = plain_get(self, name)
        if Recorder.on and name[0] != "_":
            Asked.read.add((type(self).__name__, name))
            if name == "num_labels" and type(v) is int:
                return wrap(v, self.__dict__.get("_label_key", "num_labels"))
        return v

    PreTrainedConfig.__getattribute__ = get


@dataclasses.dataclass
class Traced:
    flat: Flat
    env: Env                                     # with what the config class derived from null
    items: dict[tuple[str, str], observe.Item]
    derived: dict[str, tuple[Any, str | None]]   # key -> value and, of a scalar, its expression
    observed: observe.Observed


_CONSTANT = re.compile(r"\(([a-z_A-Z][\w.]*)(==|!=|<|<=|>|>=)(-?\d+)\)")
_COMPARED = re.compile(r"\(([a-z_A-Z][\w.]*)[=!]=([a-z_A-Z][\w.]*)\)")
_EXTRA_INT = re.compile(r"head_dim$|_dim$|_size$|^num_|^n_|_rank$|_heads$")
_EXTRA_BOOL = re.compile(r"bias$|^use_|^has_|^is_|_norm$|^qk_|^tie_|^add_")
_NOT_EXTRA = {"num_labels", "quantization_config", "is_encoder_decoder", "tie_encoder_decoder", "use_return_dict", "use_cache", "use_bfloat16", "output_hidden_states"}


def saved(cls: type, config: PreTrainedConfig, arguments: Flat) -> tuple[observe.Observed, dict]:
    """Builds the model; returns what it saves and the config.json it writes."""
    with observe.fresh_calls(), torch.device("meta"):
        model = cls(config, **arguments)
    with torch.device("meta"):
        seen = observe.Observer(model, model.config, lambda _: False, exact=True).run()
    return seen, json.loads(model.config.to_json_string(use_diff=True))


class Subject:
    """base are keys to start from where the default config cannot be built; others are keys with values that go together."""

    def __init__(self, module: str, name: str, may_use: Callable[[str], bool], base: dict | None = None, others: list[dict] = ()) -> None:
        self.name, self.module, self.may_use = name, module, may_use
        self.cls = getattr(importlib.import_module(module), name)
        self.config_class = self.cls.config_class
        try:
            self.base = self.config_class.from_dict(copy.deepcopy(base or {}))
        except TypeError:  # it wants what the constructor does not: num_classes, of a config of timm's own
            self.base = self.config_class(**copy.deepcopy(base or {}))
        self.arguments = constructor_arguments(self.cls)
        objects = {k.rstrip(".") for keys in others for k in _flat_keys(keys) if k.endswith(".")}
        self.sampler = Sampler(self.config_class, self.base, self.arguments, objects)
        for module in {self.module, *(type(c).__module__ for _, c in observe.configs_within(self.base))}:
            self.sampler.read_source(inspect.getsource(sys.modules[module]))
        for path, c in observe.configs_within(self.base):
            self.sampler.read_doc(type(c).__doc__ or "", path + "." if path else "")
        self.declared: Flat = {k.name: k.default for k in self.sampler.keys}
        self.default: Flat = dict(self.declared)
        self.fixed = _not_drawn(base or {}, self.base, set(self.default))
        if base:
            given = _flat_keys(base)
            self.default |= {k.name: k.hint for k in self.sampler.keys if {k.name, k.name + "."} & given or given & {p + "." for p in _parents(k.name)}}
        for k, v in (x for keys in others for x in _values(keys).items()):
            if k not in self.default and isinstance(v, int) and k not in aliases_of(self.config_class, self.base) and self._is_config(k.rpartition(".")[0]) and not _has(self.fixed, k):
                self.sampler.add_undeclared(k, type(v).__name__)  # the config class takes it though it does not declare it
                self.default[k] = None
        for keys in others:
            together = {k: v for k, v in _values(keys, whole=self.default).items() if k in self.default}
            if len(together) > 1:
                self.sampler.sets.append(together)
        self.parents = {k.name for k in self.sampler.keys if k.default is not None and repr(k.hint) != repr(k.default)}  # another default where it is a part
        self.aliases = aliases_of(self.config_class, self.base)
        self.refused: Counter[str] = Counter()
        self.accepted: dict[str, set[str]] = defaultdict(set)
        self.errors: Counter[str] = Counter()
        self.why = ""  # the last refused trace was
        self.rejected = self.drawn = 0
        self.read: set[str] = set()
        self.last: Traced | None = None  # the last accepted draw

    # ---- building

    def split(self, flat: Flat) -> tuple[Flat, Flat]:
        arguments = {k: v for k, v in flat.items() if k in self.arguments and k not in self._config_keys()}
        return {k: v for k, v in flat.items() if k not in arguments}, {k: v for k, v in arguments.items() if v != self.arguments[k]}

    def _is_config(self, path: str) -> bool:
        return any(p == path for p, _ in observe.configs_within(self.base))

    def _config_keys(self) -> set[str]:
        return {k.name for k in self.sampler.keys if not k.argument}

    def real(self, flat: Flat, only: set[str] | None = None) -> tuple[observe.Observed, dict]:
        """Builds the model of a draw without symbols; returns what it saves and the config.json it writes."""
        keys, arguments = self.split(flat)
        config = build(self.config_class, self.base, keys, False, self.sampler.undeclared, only=only, fixed=self.fixed)
        return saved(self.cls, config, arguments)

    def real_default(self) -> tuple[observe.Observed, dict] | None:
        """The same of a config that says nothing: its sub-configs are those that the config class makes, and its layers as many as they should be."""
        try:
            return saved(self.cls, self.config_class(), {})
        except Exception:
            return None

    def reread(self, raw: dict, arguments: Flat, written: dict) -> tuple[observe.Observed, dict] | None:
        """The same of a config.json, where the class makes something else of it than was drawn: a parent may set keys of its sub-configs."""
        try:
            config = self.config_class.from_dict(copy.deepcopy(raw))
            if getattr(config, "quantization_config", None) or json.loads(config.to_json_string(use_diff=True)) == written:
                return None  # what is built here is not quantized
            return saved(self.cls, config, arguments)
        except Exception:
            return None

    def trace(self, flat: Flat) -> Traced:
        patch_modules()
        keys, arguments = self.split(flat)
        Recorder.on = True
        Asked.read.clear()
        try:
            config = build(self.config_class, self.base, keys, True, self.sampler.undeclared, fixed=self.fixed)
            derived = _rewrap(config, flat)
            for path, c in observe.configs_within(config):
                c.__dict__["_label_key"] = f"{path}.num_labels" if path else "num_labels"
            with observe.fresh_calls():
                with shapes.RecordShapes():
                    model = self.cls(config, **{k: wrap(v, k) for k, v in arguments.items()})
                Recorder.on = False
                seen = observe.Observer(model, config, self.may_use, flat=flat).run()
        finally:
            Recorder.on = False
        self._learn_from(config)
        env = Env({**flat, **{k: v for k, (v, _) in derived.items()}})
        for k, (v, _) in derived.items():
            if isinstance(v, list) and v and all(isinstance(x, str) for x in v):
                self.sampler.derived[k] |= set(v) if k in flat else set()
        return Traced(flat, env, {(i.tag, i.name): i for i in seen.items}, derived, seen)

    def _learn_from(self, config: PreTrainedConfig) -> None:
        for k, s in Recorder.strings.items():
            self.sampler.strings[k] |= s
            if "[" in k and (base := k.split("[")[0]) in self.default and self.default[base] is None:
                self.sampler.compared[base] |= s
        for g in Recorder.guards:
            if (m := _COMPARED.fullmatch(g)) and all(k in self.default for k in m.groups()):
                self.sampler.equals.add(m.groups())
            if m := _CONSTANT.fullmatch(g):
                key, op, n = m.group(1), m.group(2), int(m.group(3))
                if key in self.default and is_int(self.default[key]) and abs(n) < 1000:
                    self.sampler.constants[key] |= {n} if op in ("==", "!=") else {n, n + 1}
        places = defaultdict(list)
        for path, c in observe.configs_within(config):
            places[type(c).__name__].append(path + "." if path else "")
        for t, name in Asked.read:
            for p in places.get(t, ()):
                self.read.add(p + (self.config_class.attribute_map or {}).get(name, name) if not p else p + name)

    def start(self) -> None:
        """Traces a first config: the default one with few layers and experts if that can be, else as it is, else with values where it has nulls."""
        small = dict(self.default)
        for k in self.sampler.keys:
            group = self.sampler.lengths.get(k.name)
            if is_int(small[k.name]) and small[k.name] > 6 and (k.kind in ("layers", "experts") or group):
                small[k.name] = 4
            elif isinstance(small[k.name], list) and len(small[k.name]) > 6 and group:
                small[k.name] = small[k.name][:4]
        self.last = self.try_trace(small)
        if self.last is None:
            try:
                self.last = self.trace(self.default)
            except Exception:
                for _ in range(3):  # what one attempt asks for, the next has
                    self.extend()
                    if self._fill_nulls():
                        break
                else:
                    raise
        self.extend()

    def tall(self) -> Traced | None:
        """A trace of the default config with as many layers as it has: their kinds may alternate in turns longer than a draw has layers."""
        layers = [k.name for k in self.sampler.keys if is_int(self.default[k.name]) and k.kind == "layers" and 6 < self.default[k.name] <= 64]
        if not layers:
            return None
        return self.try_trace({k.name: 4 if k.kind == "experts" and is_int(v := self.default[k.name]) and v > 6 else self.default[k.name] for k in self.sampler.keys})

    def _fill_nulls(self) -> bool:
        """Whether the default config can be built once numbers that are null have values."""
        r = random.Random(f"{self.name} nulls")
        nulls = [k for k in self.sampler.keys if self.default[k.name] is None and "int" in k.types and not k.argument and not re.search("_ids?$", k.name)]
        for _ in range(6 if nulls else 0):
            filled = {k.name: draw_int(k.last, 64, r) for k in nulls}
            self.last = self.try_trace({**self.default, **filled})
            if self.last is not None:
                for k in nulls:  # those that may be null after all are drawn as such
                    if self.try_trace({**self.default, **filled, k.name: None}) is None:
                        self.default[k.name] = filled[k.name]
                        k.hint, k.optional = filled[k.name], False
                    else:
                        del filled[k.name]
                self.last = self.try_trace(self.default)
                return self.last is not None
        return False

    def extend(self) -> None:
        """Takes undeclared keys that the constructor asked for into the draws."""
        places = defaultdict(list)
        for path, c in observe.configs_within(self.base):
            places[type(c).__name__].append(path + "." if path else "")
        for t, name in sorted(Asked.names):
            for p in places.get(t, ()):
                kind = "int" if _EXTRA_INT.search(name) else "bool" if _EXTRA_BOOL.search(name) else None
                if kind and name not in _NOT_EXTRA and p + name not in self.default and p + name not in self.aliases:
                    self.sampler.add_undeclared(p + name, kind)
                    self.default[p + name] = None
        Asked.names.clear()

    def vary_features(self) -> None:
        """Has the feature maps drawn that backbones are asked for. Learning does not: it would not follow them."""
        for path, c in observe.configs_within(self.base):
            if isinstance(c, BackboneConfigMixin) and getattr(c, "stage_names", None):
                key = f"{path}.out_features" if path else "out_features"
                self.sampler.add_features(key)
                self.default.setdefault(key, None)
                self.declared.setdefault(key, None)

    # ---- drawing

    def propose(self, r: random.Random, turn: int | None) -> Flat:
        """A draw that the constructor may refuse. With turn, one discrete key in turn is flipped."""
        discrete = self.sampler.discrete()
        flip = discrete[turn % len(discrete)] if turn is not None and discrete and turn % 3 else None
        flat = self.sampler.draw(r, flip)
        for k, n in self.refused.items():
            if n > 3 and len(self.accepted[k]) < 2 and self.sampler.group(k) == k and r.random() < 0.8:
                flat[k] = self.default[k]
        self.drawn += 1
        return flat

    def draw(self, r: random.Random, turn: int | None) -> Traced | None:
        """A draw that the constructor accepts."""
        flat = self.propose(r, turn)
        seen = self.try_trace(flat)
        if seen is None:
            self.rejected += 1
            seen = self.repair(flat, r)
        if seen is not None:
            self.last = seen
            for k, v in seen.flat.items():
                self.accepted[k].add(repr(v))
        return seen

    def try_real(self, flat: Flat) -> tuple[observe.Observed, dict] | None:
        try:
            return self.real(flat)
        except Exception as e:
            self.errors[f"{type(e).__name__}: {str(e)[:160]}"] += 1
            return None

    def try_trace(self, flat: Flat) -> Traced | None:
        try:
            return self.trace(flat)
        except Exception as e:
            self.why = str(e)
            self.errors[f"{type(e).__name__}: {self.why[:160]}"] += 1
            return None

    def as_written(self, written: dict, flat: Flat) -> Flat:
        """A draw as its config.json tells it: the config class has settled some keys, others are left out."""
        values = _values(written)
        return {k: (values[k] if k in values else flat[k] if k in self.arguments or k not in self.declared else self.declared[k]) for k in flat}

    def repair(self, flat: Flat, r: random.Random) -> Traced | None:
        seen = self.last or self.try_trace(self.default)
        if seen is None:
            return None
        good = {**self.default, **seen.flat}
        groups: dict[str, list[str]] = defaultdict(list)
        for k in flat:
            if repr(flat[k]) != repr(good[k]):
                groups[self.sampler.group(k)].append(k)
        stack = [list(groups.values())]
        r.shuffle(stack[0])
        trials = 0
        while stack and trials < 26:
            part = stack.pop()
            trial = {**good, **{k: flat[k] for g in part for k in g}}
            trials += 1
            got = self.try_trace(trial)
            if got is not None:
                good, seen = trial, got
            elif len(part) > 1:
                stack += [part[: len(part) // 2], part[len(part) // 2:]]
            else:
                for k in part[0]:
                    self.refused[k] += 1
        return seen

    def alternatives(self, k: Key, r: random.Random) -> list[Any]:
        """Other values for a key than its default, to be tried one by one."""
        d = self.default[k.name] if self.default[k.name] is not None else k.sample
        if isinstance(d, bool) or d is None and "bool" in k.types:
            out: list[Any] = [True, False]
        elif is_int(d):
            out = [d * 2, d + 1, d - 1, max(1, d // 2)]
        elif isinstance(d, float):
            out = [d * 2, d / 2]
        elif isinstance(d, str):
            out = [*sorted(self.sampler.strings.get(k.name, ()))[:6], "other"]
        elif isinstance(d, list) and d:
            out = [d + d[-1:], d[:-1], *([[x * 2 for x in d], [x + 1 for x in d]] if all(is_int(x) for x in d) else [])]
        else:
            words = sorted(self.sampler.strings.get(k.name, ()))[:4]
            out = [words[:1], words] if "list" in k.types and words else words[:3] if "str" in k.types else [draw_int(k.last, 64, r) for _ in range(3)] if "int" in k.types else []
        return [v for v in [*out, *([None] if k.optional else [])] if repr(v) != repr(self.default[k.name])]

    def thaw(self, names: list[str], r: random.Random) -> tuple[list[Traced], list[str]]:
        """Sets keys that kept one value to others, one by one. Returns what was accepted and the keys of which every other value is refused:
        words, flags and nulls that the class does not know, numbers that the config class does not take or of which the class says so."""
        accepted, refused = [], []
        keys = self.sampler.by_name()
        for name in names:
            seen, why = [], []
            for v in self.alternatives(keys[name], r):
                if s := self.try_trace({**self.default, **(self.last.flat if self.last else {}), name: v}):
                    seen.append(s)
                else:
                    why.append(self.why)
            if seen:
                accepted += seen
                self.sampler.values[name] += [s.flat[name] for s in seen] + [self.default[name]]
            elif (name == "num_labels" or not is_int(keys[name].sample) and not isinstance(keys[name].sample, list) or why and all(_knows_one(keys[name].last, w) for w in why)
                  or not any(self._configures({**self.default, name: v}) for v in self.alternatives(keys[name], r))):
                refused.append(name)
        return accepted, refused

    def _configures(self, flat: Flat) -> bool:
        """Whether the config class alone takes a draw."""
        try:
            build(self.config_class, self.base, self.split(flat)[0], False, self.sampler.undeclared, fixed=self.fixed)
            return True
        except Exception:
            return False

    def couple(self) -> None:
        """Finds pairs of refused numbers that may change together: both doubled, or one doubled and one halved."""
        stuck = [k for k, n in self.refused.items() if len(self.accepted[k]) < 2 and is_int(self.default[k]) and self.default[k] > 1][:8]
        for a, b in itertools.combinations(stuck, 2):
            for x, y in ((2, 2), (2, 0.5), (0.5, 2)):
                trial = {**self.default, a: int(self.default[a] * x), b: int(self.default[b] * y)}
                if self.try_trace(trial) is not None:
                    self.sampler.pairs.append((a, b, x == y))
                    self.sampler.base_values |= {a: self.default[a], b: self.default[b]}
                    break

    def frozen(self, draws: list[Flat]) -> list[str]:
        """Keys that the constructor reads and that took one value only."""
        out = []
        for k in self.sampler.keys:
            if k.argument or len({repr(f.get(k.name)) for f in draws}) > 1:
                continue
            if k.name in self.read or k.name == "num_labels":
                out.append(k.name)
        return out


def _knows_one(key: str, why: str) -> bool:
    """Whether a class says that it knows one number only for a key."""
    words = key.replace("_", "[_ ]")
    return re.search(rf"only supports \S*\b{words}\b|\b{words}\w* has to be \d", why) is not None


def _parents(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _values(keys: dict, prefix: str = "", whole: Container[str] = ()) -> Flat:
    """Dotted keys and their values. An object under a key that is in whole is such a value."""
    out = {}
    for k, v in keys.items():
        out |= _values(v, f"{prefix}{k}.", whole) if isinstance(v, dict) and prefix + k not in whole else {prefix + k: v}
    return out


def _flat_keys(keys: dict, prefix: str = "") -> set[str]:
    """Dotted keys; of nested objects also the path with a dot at its end."""
    out = set()
    for k, v in keys.items():
        out |= {f"{prefix}{k}.", *_flat_keys(v, f"{prefix}{k}.")} if isinstance(v, dict) else {prefix + k}
    return out


def _not_drawn(keys: dict, config: PreTrainedConfig, drawn: set[str], prefix: str = "") -> dict:
    """Of the keys to start from those that no draw sets."""
    out = {}
    for k, v in keys.items():
        sub = getattr(config, k, None) if k in config.sub_configs else None
        if isinstance(sub, PreTrainedConfig):
            if isinstance(v, dict) and (inside := _not_drawn(v, sub, drawn, f"{prefix}{k}.")):
                out[k] = inside
        elif prefix + k not in drawn and k != "model_type":
            out[k] = v
    return out


def _has(keys: dict, dotted: str) -> bool:
    first, _, rest = dotted.partition(".")
    return first in keys and (not rest or isinstance(keys[first], dict) and _has(keys[first], rest))


def _simple_list(v: Any) -> bool:
    return isinstance(v, list) and all(isinstance(x, (int, str, float)) and not isinstance(x, bool) for x in v)


def _rewrap(config: PreTrainedConfig, flat: Flat, prefix: str = "") -> dict[str, tuple[Any, str | None]]:
    """Values that the config class derived from null (layer_types, head_dim) become keys of their own."""
    found = {}
    for k, v in list(vars(config).items()):
        name = prefix + k
        if k.startswith("_"):
            continue
        if isinstance(v, PreTrainedConfig):
            found |= _rewrap(v, flat, f"{name}.")
        elif name in flat and flat[name] is None and isinstance(v, (int, str, float)) and v is not None:
            found[name] = (plain(v), expr(v))
            _set(config, k, wrap(plain(v), name))
        elif _simple_list(v) and type(v) in (list, SymList):
            given = flat.get(name)
            if name not in flat and not (v and all(isinstance(x, str) for x in v)):
                continue
            if name not in flat or given is None:
                found[name] = (plain(v), None)
            elif plain(v) != plain(given):
                continue
            if type(v) is list or name not in flat or given is None:
                _set(config, k, SymList(plain(v), name))
    return found


def _set(config: PreTrainedConfig, k: str, v: Any) -> None:
    try:
        object.__setattr__(config, k, v)
    except (AttributeError, TypeError):
        pass
