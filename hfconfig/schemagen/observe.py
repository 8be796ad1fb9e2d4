"""Builds a model on the meta device and tells what it would save, as items that a learner can generalise.

An item is one fact that has a name with numbers in it: a module with a weight, a tensor, a sub-model that is another known unit, a
tie. Names carry the place on disk behind "|", and the source of a tie behind "=".
"""
from __future__ import annotations

import collections
import contextlib
import dataclasses
import inspect
import re
from typing import Any, Callable

import torch
import torch.nn as nn
import transformers
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (PrefixChange, WeightConverter, WeightRenaming, apply_converters, apply_renamings,
                                             revert_weight_conversion)
from transformers.modeling_utils import remove_tied_weights_from_state_dict
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from .shapes import RecordShapes
from .symbols import expr, plain, symbolic

Shapes = dict[str, list[int]]


@dataclasses.dataclass
class Item:
    tag: str  # row, native, save (each with the kind behind a colon), use (class, config path, role), tie
    name: str
    values: dict[str, Any]  # dimensions "0", "1", ... and "bias", or arguments by name
    exprs: dict[str, str | None]


@dataclasses.dataclass
class Observed:
    native: Shapes
    save: Shapes
    ties: dict[str, str]  # dropped name -> kept name
    items: list[Item]
    tolerate: dict[str, list[str]]


# ---- what constructors were called with

class Calls:
    """The PreTrainedModel instances under construction, with arguments, snapshot at the end of __init__ and auto class."""

    seen: dict[int, "Call"] = {}
    auto: str | None = None

    @classmethod
    def reset(cls) -> None:
        cls.seen, cls.auto = {}, None


@dataclasses.dataclass
class Call:
    model: PreTrainedModel
    args: tuple
    kwargs: dict
    auto: str | None
    snapshot: dict[str, tuple] | None = None


def install() -> None:
    def new(cls: type, *args: Any, **kwargs: Any) -> Any:
        self = object.__new__(cls)
        Calls.seen[id(self)] = Call(self, args, kwargs, Calls.auto)
        Calls.auto = None
        return self

    PreTrainedModel.__new__ = new
    post_init = PreTrainedModel.post_init

    def recorded(self: PreTrainedModel) -> None:
        post_init(self)
        call = Calls.seen.get(id(self))
        if call is not None:
            with torch._C.DisableTorchFunction():
                call.snapshot = {n: tuple(t.shape) for n, t in self.state_dict(keep_vars=True).items() if isinstance(t, torch.Tensor)}

    PreTrainedModel.post_init = recorded
    from_config = _BaseAutoModelClass.from_config.__func__

    def auto(cls: type, config: Any, **kwargs: Any) -> Any:
        Calls.auto = cls.__name__
        return from_config(cls, config, **kwargs)

    _BaseAutoModelClass.from_config = classmethod(auto)


# ---- configs

def configs_within(config: PreTrainedConfig, prefix: str = "") -> list[tuple[str, PreTrainedConfig]]:
    """The config and those below it, with dotted paths; the root's is empty."""
    out = [(prefix.rstrip("."), config)]
    for k in config.sub_configs:
        v = getattr(config, k, None)
        if isinstance(v, PreTrainedConfig):
            out += configs_within(v, f"{prefix}{k}.")
    return out


_UNIMPORTANT = {"dtype", "architectures", "transformers_version", "output_hidden_states", "return_dict", "id2label", "label2id", "use_cache",
                "rope_parameters", "quantization_config", "problem_type", "chunk_size_feed_forward"}
_SIMPLE = (int, float, str, bool, type(None))


def overrides(config: PreTrainedConfig, like: PreTrainedConfig) -> dict[str, Any] | None:
    """What differs in config, a changed copy of like; None if that cannot be said in simple values."""
    out = {}
    a, b = vars(config), vars(like)
    for k in a.keys() | b.keys():
        if k.startswith("_") or k in _UNIMPORTANT:
            continue
        x, y = a.get(k), b.get(k)
        if isinstance(x, PreTrainedConfig):
            if not isinstance(y, PreTrainedConfig) or type(x) is not type(y) or overrides(x, y) != {}:
                return None
            continue
        if plain(x) == plain(y) and (not symbolic(x) or expr(x) == expr(y)):
            continue
        if not isinstance(x, _SIMPLE):
            return None
        out[k] = x
    return out


def reassigned(config: PreTrainedConfig, path: str, flat: dict[str, Any]) -> dict[str, Any]:
    """The keys of a sub-config that its parent's constructor gave other values than the draw did."""
    out = {}
    for k, v in vars(config).items():
        given = flat.get(f"{path}.{k}" if path else k)
        if given is not None and isinstance(v, (int, str)) and isinstance(given, (int, str)) and plain(v) != given:
            out[k] = v
    return out


def place_of(config: PreTrainedConfig, root: PreTrainedConfig, flat: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Where in root a sub-model's config comes from, and what was changed in it."""
    places = configs_within(root)
    for path, c in places:
        if c is config:
            return path, reassigned(config, path, flat) if path else {}
    best = None
    for path, c in places:
        if type(c) is type(config):
            diff = overrides(config, c)
            if diff is not None and len(diff) <= 6 and (best is None or len(diff) < len(best[1])):
                best = path, diff
    return best


# ---- save_pretrained's steps

def state_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    state = {n: t for n, t in model.state_dict(keep_vars=True).items() if isinstance(t, torch.Tensor)}
    for k in model._keys_to_ignore_on_save or ():
        state.pop(k, None)
    return state


class Disk:
    """The names on disk of one model."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        conversions = [t for t in get_model_conversion_mapping(model, add_legacy=False) if not isinstance(t, PrefixChange)]
        reverse = [t.reverse_transform() for t in conversions[::-1]]
        self.renamings = [t for t in reverse if isinstance(t, WeightRenaming)]
        self.converters = [t for t in reverse if isinstance(t, WeightConverter)]

    def name(self, native: str) -> str | None:
        """The name on disk of a tensor that is only renamed."""
        if apply_converters(native, self.converters)[1] is not None:
            return None
        return apply_renamings(native, self.renamings)

    def save(self, state: dict[str, torch.Tensor], exact: bool = False) -> dict[str, torch.Tensor]:
        """What save_pretrained writes. Not exact, tensors that are only renamed do not go through transformers (which compiles a pattern for each)."""
        out, rest = {}, {}
        for n, t in state.items():
            place = None if exact else self.name(n)
            if place is None:
                rest[n] = t
            else:
                out[place] = t
        if rest:
            with RecordShapes():
                out |= revert_weight_conversion(self.model, rest)
        return out


def untied(model: PreTrainedModel, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state without the tied duplicates that save_pretrained drops."""
    if len({id(t) for t in state.values()}) == len(state):
        return dict(state)
    return remove_tied_weights_from_state_dict(dict(state), model)


def ties_of(state: dict[str, torch.Tensor], kept: dict[str, torch.Tensor]) -> dict[str, str]:
    first: dict[int, str] = {}
    for n in sorted(kept):
        first.setdefault(id(state[n]), n)
    return {n: first[id(t)] for n, t in state.items() if n not in kept and id(t) in first}


# ---- modules

def kind_of(module: nn.Module, names: dict[str, tuple]) -> str | None:
    """The schema's kind for a module with exactly these own tensors (name -> shape), or None if its tensors are rows of their own."""
    own, rank = set(names), len(names.get("weight", ()))
    if own == {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}:
        return "batchnorm"
    if own not in ({"weight"}, {"weight", "bias"}):
        return None
    bias = names.get("bias")
    if bias is not None and len(bias) != 1:
        return None
    weight = names["weight"]
    if isinstance(module, transformers.pytorch_utils.Conv1D):
        return "conv1d" if bias is None or bias[0] == weight[1] else None
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return "convt" if bias is None else None
    if isinstance(module, nn.modules.conv._ConvNd):
        return "conv" if bias is None or bias[0] == weight[0] else None
    if isinstance(module, nn.Embedding):
        return "embedding" if bias is None else None
    if rank == 2 and (isinstance(module, nn.Linear) or "Linear" in type(module).__name__):
        return "linear" if bias is None or bias[0] == weight[0] else None
    if rank == 2 and "Embedding" in type(module).__name__ and bias is None:
        return "embedding"
    if rank == 1 and ("Norm" in type(module).__name__) and (bias is None or bias[0] == weight[0]):
        return "norm"
    return None


def _dims(t: torch.Tensor) -> tuple[dict[str, Any], dict[str, str | None]]:
    dims = getattr(t, "_dims", None)
    shape = [int(x) for x in t.shape]
    if dims is None or len(dims) != len(shape):
        dims = [None] * len(shape)
    return {str(n): x for n, x in enumerate(shape)}, {str(n): x for n, x in enumerate(dims)}


class Observer:
    """Takes one built model apart."""

    def __init__(self, model: PreTrainedModel, root: PreTrainedConfig, may_use: Callable[[str], bool], exact: bool = False, flat: dict[str, Any] | None = None) -> None:
        self.model, self.root, self.may_use, self.exact, self.flat = model, root, may_use, exact, flat or {}
        self.items: list[Item] = []
        self.modules = dict(model.named_modules(remove_duplicate=False))

    def run(self) -> Observed:
        model = self.model
        state = state_of(model)
        kept = untied(model, state)
        ties = ties_of(state, kept)
        for n, t in kept.items():
            t._src = frozenset([n])
        self.disk = Disk(model)
        saved = self.disk.save(kept, self.exact)
        self.state, self.ties, self.kept, self.saved = state, ties, kept, saved
        self.sources = {s: getattr(t, "_src", frozenset()) for s, t in saved.items()}
        self.left = set(state)          # native names not yet told
        self.left_saved = set(saved)    # names on disk not yet told
        self.told_ties: set[str] = set()
        for path, sub in self._nested():
            self._use(path, sub)
        self._rows()
        self._saved_rows()
        for target, source in sorted(ties.items()):
            if target not in self.told_ties:
                self.items.append(Item("tie", f"{target}={source}", {}, {}))
        return Observed({n: [int(x) for x in t.shape] for n, t in kept.items()}, {n: [int(x) for x in t.shape] for n, t in saved.items()}, ties,
                        self.items, _tolerate(model))

    # sub-models

    def _nested(self) -> list[tuple[str, Call]]:
        out = []
        for path, module in self.modules.items():
            if path and id(module) in Calls.seen:
                out.append((path, Calls.seen[id(module)]))
        return out

    def _use(self, path: str, call: Call) -> None:
        prefix = path + "."
        mine = {n for n in self.state if n.startswith(prefix)}
        if not mine or not mine <= self.left or not self.may_use(type(call.model).__name__):
            return
        snapshot = {prefix + n: s for n, s in (call.snapshot or {}).items()}
        if call.snapshot is None or any(tuple(self.state[n].shape) != snapshot.get(n) for n in mine):
            return
        inside = state_of(call.model)
        if {n for n in snapshot if not any(re.search(p, n.removeprefix(prefix)) for p in call.model._keys_to_ignore_on_save or ())} != mine:
            return  # its parent took parts away or put others in
        if {prefix + n for n in inside} != mine or {n for n in snapshot if n not in mine and n.removeprefix(prefix) in inside}:
            return
        where = self._arguments(call)
        if where is None:
            return
        config_path, arguments, exprs = where
        try:
            inside_kept = untied(call.model, inside)
        except RuntimeError:  # tied by its parent
            return
        own_ties, dropped = ties_of(inside, inside_kept), inside.keys() - inside_kept.keys()
        if any(self.ties.get(prefix + t) != prefix + s for t, s in own_ties.items()) or set(own_ties) != dropped:
            return
        names = self._same_on_disk(prefix, call.model, inside, dropped, mine)
        if names is None:
            return
        save_prefix, on_disk = names
        self.left -= mine
        self.left_saved -= on_disk
        self.told_ties |= {prefix + t for t in own_ties}
        role = "" if arguments or not config_path else call.auto or ""
        tag = f"use:{type(call.model).__module__}:{type(call.model).__name__}:{config_path}:{role}"
        name = path if save_prefix == prefix else f"{path}|{save_prefix.rstrip('.')}"
        self.items.append(Item(tag, name, arguments, exprs))

    def _arguments(self, call: Call) -> tuple[str, dict[str, Any], dict[str, str | None]] | None:
        try:
            bound = inspect.signature(type(call.model).__init__).bind(None, *call.args, **call.kwargs).arguments
        except (TypeError, ValueError):
            return None
        parameters = inspect.signature(type(call.model).__init__).parameters
        values, config = {}, None
        for name, v in bound.items():
            if name == "self":
                continue
            kind = parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                if any(k not in ("attn_implementation", "dtype", "torch_dtype", "trust_remote_code") for k in v):
                    return None
            elif kind is inspect.Parameter.VAR_POSITIONAL:
                if v:
                    return None
            elif isinstance(v, PreTrainedConfig) and config is None:
                config = v
            elif v is parameters[name].default:
                continue
            elif isinstance(v, _SIMPLE):
                values[name] = v
            else:
                return None
        place = place_of(config, self.root, self.flat) if config is not None else None
        if place is None:
            return None
        values.update(place[1])
        return place[0], {k: plain(v) for k, v in values.items()}, {k: expr(v) for k, v in values.items()}

    def _same_on_disk(self, prefix: str, model: PreTrainedModel, inside: dict, dropped: set[str], mine: set[str]) -> tuple[str, set[str]] | None:
        """The sub-model's prefix on disk and its names there, if its own layout holds inside this model."""
        on_disk = {s for s, src in self.sources.items() if src & mine}
        if any(not self.sources[s] <= mine for s in on_disk):
            return None
        try:
            own = Disk(model).save({n: t for n, t in inside.items() if n not in dropped and prefix + n in self.kept})
        except Exception:  # a conversion that only works on the whole
            return None
        if len(own) != len(on_disk):
            return None
        if not own:
            return prefix, on_disk
        first = min(own, key=lambda n: (-len(n), n))
        ends = [s for s in on_disk if s.endswith(first)]
        for s in ends:
            q = s[:len(s) - len(first)]
            if (q == "" or q.endswith(".")) and {q + n for n in own} == on_disk and all(list(own[n].shape) == list(self.saved[q + n].shape) for n in own):
                # a tied tensor has a name on disk as well; what follows from the prefix must be the one that renaming gives
                return q, on_disk
        return None

    # own rows

    def _renamed(self, name: str) -> str | None:
        """The name on disk of a tensor that is written as it is, else None."""
        if name not in self.kept:
            return self.disk.name(name)
        t = self.kept[name]
        places = [s for s, src in self._by_source().get(name, ())]
        if len(places) == 1 and self.saved[places[0]] is t:
            return places[0]
        return None

    def _by_source(self) -> dict[str, list]:
        if not hasattr(self, "_index"):
            self._index = collections.defaultdict(list)
            for s, src in self.sources.items():
                for n in src:
                    self._index[n].append((s, src))
        return self._index

    def _rows(self) -> None:
        groups: dict[str, dict[str, torch.Tensor]] = collections.defaultdict(dict)
        for n in self.state:
            if n in self.left:
                path, _, leaf = n.rpartition(".")
                groups[path][leaf] = self.state[n]
        for path, own in groups.items():
            disk = {leaf: self._renamed(_join(path, leaf)) for leaf in own}
            kind = kind_of(self.modules.get(path, nn.Module()), {k: tuple(t.shape) for k, t in own.items()}) if path else None
            if kind and all(d is None for d in disk.values()):
                self._native(path, own, kind)
            elif kind and (places := {d[:-len(leaf) - 1] if d and d.endswith("." + leaf) else None for leaf, d in disk.items()}) and len(places) == 1 and None not in places:
                place = places.pop()
                self._item(f"row:{kind}", path if place == path else f"{path}|{place}", own, kind)
                self.left_saved -= {_join(place, leaf) for leaf in own}
            else:
                for leaf, t in own.items():
                    name = _join(path, leaf)
                    kind = "param" if isinstance(t, nn.Parameter) else "buffer"
                    if disk[leaf] is None:
                        self._item(f"native:{kind}", name, {"": t}, kind)
                    else:
                        self._item(f"row:{kind}", name if disk[leaf] == name else f"{name}|{disk[leaf]}", {"": t}, kind)
                        self.left_saved.discard(disk[leaf])

    def _native(self, path: str, own: dict[str, torch.Tensor], kind: str) -> None:
        self._item(f"native:{kind}", path, own, kind)

    def _item(self, tag: str, name: str, own: dict[str, torch.Tensor], kind: str) -> None:
        values, exprs = _dims(own["weight"] if "weight" in own else next(iter(own.values())))
        if kind in ("linear", "conv1d", "conv", "norm"):
            values["bias"], exprs["bias"] = "bias" in own, None
        self.items.append(Item(tag, name, values, exprs))

    def _saved_rows(self) -> None:
        """Tensors on disk that are not just renamed."""
        groups: dict[str, dict[str, torch.Tensor]] = collections.defaultdict(dict)
        for n in self.saved:
            if n in self.left_saved:
                path, _, leaf = n.rpartition(".")
                groups[path][leaf] = self.saved[n]
        for path, own in groups.items():
            weight = own.get("weight")
            if path and set(own) <= {"weight", "bias"} and weight is not None and weight.dim() == 2 and ("bias" not in own or list(own["bias"].shape) == [weight.shape[0]]):
                self._item("save:linear", path, own, "linear")
            else:
                for leaf, t in own.items():
                    self._item("save:param", _join(path, leaf), {"": t}, "param")


def _join(path: str, leaf: str) -> str:
    return f"{path}.{leaf}" if path else leaf


def _tolerate(model: PreTrainedModel) -> dict[str, list[str]]:
    return {"unexpected": sorted(model._keys_to_ignore_on_load_unexpected or ()), "missing": sorted(model._keys_to_ignore_on_load_missing or ())}


@contextlib.contextmanager
def fresh_calls():
    Calls.reset()
    try:
        yield
    finally:
        Calls.reset()
