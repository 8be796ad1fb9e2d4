"""The config section of a model type: the keys that its rows use, with defaults, aliases, derived values and sub-configs."""
from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from transformers import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from .expressions import keys_of, literal, schema_text


@dataclasses.dataclass
class SubConfig:
    model_type: str
    auto: bool
    optional: bool
    init: dict[str, Any]
    over: bool = False                     # the parent gives an object that is there what it lacks of init


class ConfigSection:
    def __init__(self, cls: type[PreTrainedConfig]) -> None:
        self.cls = cls
        self.model_type = type_of(cls)
        self.used: set[str] = set()
        self.derived: dict[str, tuple[str | None, str]] = {}
        self.undeclared: set[str] = set()
        self.tested: set[str] = set()      # keys that expressions name as they are: a sub-config asked whether it is null
        self.inlined: set[str] = set()     # sub-configs whose model is written out here, for one type of those that it may have
        self.tells_type = False            # somebody asks for the model_type
        self.subs = {k: SubConfig(s.model_type if not issubclass(s.config_class, PreTrainedConfig) else type_of(s.config_class), not issubclass(s.config_class, PreTrainedConfig), s.optional, s.init_kwargs)
                     for k, s in (cls.sub_configs_defaults or {}).items()}
        self.subs |= {k: SubConfig(type_of(s), False, False, {}) for k, s in cls.sub_configs.items() if k not in self.subs}
        self._as_built()

    def _fills(self, k: str, init: dict[str, Any]) -> bool:
        try:
            sub = getattr(self.cls(**{k: {"model_type": self.subs[k].model_type}}), k)
            return all(getattr(sub, name, v) == v for name, v in init.items())
        except Exception:
            return False

    def _as_built(self) -> None:
        """Where a config class puts another type than it declares for a sub-config that is absent, that one counts: DETR's are backbones of timm."""
        try:
            default = self.cls()
        except Exception:
            return
        for k, s in self.subs.items():
            s.over = bool(s.init) and self._fills(k, s.init)
            actual = getattr(getattr(default, k, None), "model_type", s.model_type)
            if s.auto and actual and actual != s.model_type:
                s.init = {"model_type": actual}

    def defaults(self) -> dict[str, Any]:
        out = {}
        for f in dataclasses.fields(self.cls):
            if f.default is not dataclasses.MISSING:
                out[f.name] = list(f.default) if isinstance(f.default, tuple) else f.default
            elif f.default_factory is not dataclasses.MISSING:
                out[f.name] = f.default_factory()
        return out

    def close(self) -> None:
        """Adds what derived keys need."""
        todo = list(self.used)
        while todo:
            k = todo.pop()
            for e in self.derived.get(k, ()):
                for other in keys_of(e) - self.used if e else ():
                    self.used.add(other)
                    todo.append(other)

    def lines(self) -> list[str]:
        self.close()
        defaults = self.defaults()
        fields = [f.name for f in dataclasses.fields(self.cls)]
        others: dict[str, list[str]] = {}
        for alias, key in (self.cls.attribute_map or {}).items():
            if alias in fields and key not in fields:  # written under the other name
                alias, key = key, alias
            if alias != key:
                others.setdefault(key, []).append(alias)
        out = [f"model_type = {literal(self.model_type)}"] if self.tells_type else []
        order = {k: n for n, k in enumerate(fields)}
        for k in sorted(self.used, key=lambda k: (order.get(k, len(order)), k)):
            if "." in k or k in self.subs or k == "num_labels":
                continue
            head = k + (f" ({', '.join(sorted(others[k]))})" if k in others else "")
            default, derived = defaults.get(k, _ABSENT), self.derived.get(k)
            value = _derived(derived) if derived else None
            if k not in order and value and k not in self.undeclared:
                out.append(f"{head} := {value}")
            elif value is not None:
                out.append(f"{head} ?= {value}" if default in (None, _ABSENT) else f"{head} = {literal(default)} ?= {value}")
            elif default is _ABSENT and k in order:
                out.append(head)
            else:
                out.append(f"{head} = {literal(None if default is _ABSENT else default)}")
        for k, s in self.subs.items():
            if k in self.used or any(u.startswith(k + ".") for u in self.used):
                tail = " optional" if s.optional and k in self.tested else f"{' over' if s.over else ''} {json.dumps(s.init)}" if s.init else ""
                out.append(f"{k}: {'auto ' if s.auto else ''}{s.model_type}{tail}")
                if k in self.inlined:
                    out.append(f"known {k}.model_type == {literal(s.model_type)}")
        return out


_ABSENT = object()


def _derived(d: tuple[str | None, str]) -> str:
    count, element = d
    if count is None:
        return schema_text(element)
    return f"[{schema_text(element)} for i < {schema_text(count)}]"


def type_of(cls: type[PreTrainedConfig]) -> str:
    """The model type of a config class; of one that has none, or another's, the class's name."""
    own = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__.removesuffix("Config")).lower()
    if not cls.model_type or cls.model_type in CONFIG_MAPPING and CONFIG_MAPPING[cls.model_type] is not cls and not issubclass(cls, CONFIG_MAPPING[cls.model_type]):
        return own
    return cls.model_type


def config_class_of(model_type: str) -> type[PreTrainedConfig] | None:
    return CONFIG_MAPPING[model_type] if model_type in CONFIG_MAPPING else None


def type_names() -> dict[str, list[str]]:
    """{config class: model types that mean it}."""
    out: dict[str, list[str]] = {}
    for t in CONFIG_MAPPING:
        out.setdefault(CONFIG_MAPPING[t].__name__, []).append(t)
    return out
