"""Schema files from what was learned."""
from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from typing import Any

from transformers import PreTrainedConfig

from . import classes
from .configs import ConfigSection, type_names, type_of
from .expressions import keys_of, literal, rename, schema_text
from .layout import Line, paths, split, write
from .tidy import tidy

GENERATED = 'generated "schemagen, transformers 5.23.0"'


class Unit:
    """One model class: what was learned of it, and its place in the files."""

    def __init__(self, res: dict[str, Any]) -> None:
        self.res, self.name, self.module = res, res["name"], res["module"]
        tidy(res["schema"], res["default"])
        self.rows = res["schema"]["rows"]
        self.config = classes.load(self.module, self.name).config_class
        self.model_type = type_of(self.config)
        self.params: list[str] = []
        self.is_block = False
        self.used = keys_in(self.rows)

    def uses(self) -> list[dict]:
        return [r for r in self.rows if r["tag"].startswith("use:")]

    @property
    def file(self) -> str:
        return self.config.__module__.split(".")[2]


def keys_in(rows: list[dict]) -> set[str]:
    out: set[str] = set()
    for r in rows:
        for e in [r["condition"], *[end for _, _, end in r["loops"]], *r["values"].values()]:
            out |= keys_of(e)
    return out


class Emitter:
    """With only, no other classes are written than those, and what they use; model types that are described elsewhere are not."""

    def __init__(self, results: dict[str, dict], keep: set[str], only: set[str] | None = None, described: set[str] = frozenset()) -> None:
        self.units = {n: Unit(r) for n, r in results.items() if n in keep and r["schema"]}
        self.only, self.described = only, described
        self.saved = classes.auto_classes() | classes.further_classes()  # that checkpoints are of
        self.roles = classes.roles()
        self.types = type_names()
        self.dropped: dict[str, str] = {}
        self._drop_incomplete()
        if only is not None:
            self._reduce(only)
        self._parameters()
        self.sections = self._sections()
        self.blocks = self._block_names()

    def _drop_incomplete(self) -> None:
        """A class is emitted only if all that it uses is."""
        while True:
            gone = {n: use["tag"].split(":")[2] for n, u in self.units.items() for use in u.uses() if use["tag"].split(":")[2] not in self.units}
            if not gone:
                return
            for n, missing in gone.items():
                self.dropped[n] = f"uses {missing}, which is not known well enough"
                del self.units[n]

    def _reduce(self, only: set[str]) -> None:
        needed, todo = set(), [n for n in only if n in self.units]
        while todo:
            n = todo.pop()
            if n not in needed:
                needed.add(n)
                todo += [use["tag"].split(":")[2] for use in self.units[n].uses()]
        self.units = {n: u for n, u in self.units.items() if n in needed}

    def _parameters(self) -> None:
        for u in self.units.values():
            u.params = sorted(k for k in u.used if k in u.res["arguments"] and "." not in k)
        for u in self.units.values():
            for use in u.uses():
                target = self.units[use["tag"].split(":")[2]]
                target.is_block = True
                target.params = sorted(set(target.params) | {k for k in use["values"] if self._reaches(target, k)})
        for u in self.units.values():
            if not u.is_block:  # nobody passes arguments: those that a checkpoint's class has
                given = {k: repr(u.res["arguments"][k]) for k in u.params if k in u.res["arguments"] and k not in {f.name for f in dataclasses.fields(u.config)}}
                for r in u.rows:
                    r["condition"] = rename(r["condition"], given)
                    r["loops"] = [(v, start, rename(end, given)) for v, start, end in r["loops"]]
                    r["values"] = {k: rename(e, given) for k, e in r["values"].items()}

    def _reached(self, u: Unit) -> set[str]:
        """The keys that a unit looks up in the config it is used for."""
        out = u.used - set(u.res["arguments"])
        for row in u.uses():
            _, _, name, path, _ = row["tag"].split(":")
            out |= self._reached(self.units[name]) - set(row["values"]) if not path else {path}
        return out

    def _reaches(self, u: Unit, key: str) -> bool:
        """Whether a key or argument has any say in a unit."""
        if key in u.used:
            return True
        return any(key in keys_of(e) for k in u.used for e in u.res["schema"]["derived"].get(k, ()) if e)

    def _sections(self) -> dict[str, ConfigSection]:
        """{config class: section}, with the keys that rows use."""
        out: dict[str, ConfigSection] = {}

        def section(cls: type) -> ConfigSection:
            if cls.__name__ not in out:
                out[cls.__name__] = ConfigSection(cls)
            return out[cls.__name__]

        def use_key(cls: type, key: str) -> None:
            s = section(cls)
            first, _, rest = key.partition(".")
            s.used.add(first)
            if rest:
                sub = self._sub_class(cls, first)
                if sub is not None:
                    use_key(sub, rest)

        for u in sorted(self.units.values(), key=lambda u: u.res["status"] != "learned"):
            for k in u.used - set(u.res["arguments"]):
                use_key(u.config, k)
                section(u.config).tested.add(k)
            for row in u.uses():
                _, _, name, path, _ = row["tag"].split(":")
                if path:
                    use_key(u.config, path)
                owner = u.config
                for part in path.split(".") if path else ():
                    owner = owner and self._sub_class(owner, part)
                if owner is not None and owner is not self.units[name].config:  # a block of another type for this config
                    for k in self._reached(self.units[name]) - set(row["values"]):
                        use_key(owner, k)
                    for k, (count, e) in self.units[name].res["schema"]["derived"].items():
                        self._derived(owner, section, k, count, e)
            s = section(u.config)
            s.undeclared |= {k for k in u.res["undeclared"] if "." not in k}
            for k, (count, e) in u.res["schema"]["derived"].items():
                self._derived(u.config, section, k, count, e)
        self._inlined(out)
        for s in list(out.values()):
            s.close()
            for k in list(s.used):
                if k in s.derived:
                    for e in s.derived[k]:
                        for x in keys_of(e or ""):
                            use_key(s.cls, x)
        return out

    def _inlined(self, sections: dict[str, ConfigSection]) -> None:
        used: dict[str, set[str]] = defaultdict(set)
        for u in self.units.values():
            used[u.config.__name__] |= {row["tag"].split(":")[3] for row in u.uses()}
        for u in self.units.values():
            s = sections[u.config.__name__]
            for k in {k.partition(".")[0] for k in u.used if "." in k} - used[u.config.__name__]:
                if k in s.subs and s.subs[k].auto and (cls := self._sub_class(u.config, k)) and cls.__name__ in sections:
                    s.inlined.add(k)
                    sections[cls.__name__].tells_type = True

    def _derived(self, cls: type, section: Any, key: str, count: str | None, e: str) -> None:
        prefix = ""
        while "." in key:
            first, _, key = key.partition(".")
            prefix += first + "."
            cls = self._sub_class(cls, first)
            if cls is None:
                return
        names = keys_of(e) | keys_of(count or "")
        if any(not n.startswith(prefix) for n in names):
            return
        short = {n: n.removeprefix(prefix) for n in names}
        section(cls).derived.setdefault(key, (rename(count, short) if count else None, rename(e, short)))

    def _sub_class(self, cls: type, key: str) -> type | None:
        s = (cls.sub_configs_defaults or {}).get(key)
        if s is None:
            return cls.sub_configs.get(key)
        if issubclass(s.config_class, PreTrainedConfig):
            return s.config_class
        try:
            return s.get_config_class(s.model_type)
        except ValueError:  # any type, and none is the default
            return None

    def _block_names(self) -> dict[str, str]:
        out: dict[str, str] = {}
        taken: dict[str, set[str]] = defaultdict(set)
        for u in sorted(self.units.values(), key=lambda u: (len(u.name), u.name)):
            common = re.sub(r"[^a-z0-9]", "", u.file.lower())
            n = 0
            while n < len(u.name) and n < len(common) and u.name[n].lower() == common[n]:
                n += 1
            short = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", u.name[n:] if n >= 3 else u.name).lower().strip("_") or "model"
            if short[0].isdigit() or short in taken[u.config.__name__] or short in u.params:
                short = u.name.lower()
            taken[u.config.__name__].add(short)
            out[u.name] = short
        return out

    # ---- text

    def files(self) -> dict[str, str]:
        by_file: dict[str, list[ConfigSection]] = defaultdict(list)
        for s in self.sections.values():
            by_file[s.cls.__module__.split(".")[2]].append(s)
        out, seen = {}, set()
        for file, sections in sorted(by_file.items()):
            text = [GENERATED]
            for s in sorted(sections, key=lambda s: (s.model_type != file, len(s.model_type), s.model_type)):
                if s.model_type in seen or s.model_type in self.described or not s.model_type:
                    continue
                seen.add(s.model_type)
                text += self._section(s)
            if len(text) > 1:
                out[f"{file}.arch"] = "\n".join(text) + "\n"
        return out

    def _section(self, s: ConfigSection) -> list[str]:
        units = sorted([u for u in self.units.values() if u.config is s.cls], key=lambda u: (u.name not in self.saved, len(u.name), u.name))
        others = [t for t in self.types.get(s.cls.__name__, []) if t != s.model_type]
        prefixes = [u.res["prefix"] for u in units if u.res["prefix"]]
        prefix = max(set(prefixes), key=prefixes.count) if prefixes else ""
        out = ["", f"model {s.model_type}" + (f" ({', '.join(others)})" if others else "") + (f" prefix {prefix}" if prefix else "")]
        unexpected = set.intersection(*[set(u.res["tolerate"].get("unexpected", ())) for u in units]) if units else set()
        out += [f"allow unexpected {literal(p)}" for p in sorted(unexpected)]
        out += ["", "config"] + ["  " + x for x in s.lines()]
        for u in units:
            if u.is_block:
                args = f"({', '.join(u.params)})" if u.params else ""
                out += ["", f"block {self.blocks[u.name]}{args}"] + self._body(u)
        for u in units:
            if self.only is not None and u.name not in self.only:
                continue
            if u.name in self.saved or any(u.name == n for (_, n) in self.roles):
                roles = sorted({r for t in [s.model_type, *others] for r in self.roles.get((t, u.name), ())})
                head = f"class {u.name}" + (f" as {', '.join(roles)}" if roles else "") + (f" prefix {u.res['prefix'] or '.'}" if u.res["prefix"] != prefix else "")
                body = [f"  use {self.blocks[u.name]}{self._call(u, {})}"] if u.is_block else self._body(u)
                extra = [f"  allow unexpected {literal(p)}" for p in u.res["tolerate"].get("unexpected", ()) if p not in unexpected]
                extra += [f"  allow missing {literal(p)}" for p in u.res["tolerate"].get("missing", ())]
                out += ["", head] + extra + body
        return out

    def _call(self, u: Unit, values: dict[str, str], prefix: str = "") -> str:
        if not u.params:
            return ""
        args = []
        for p in u.params:
            if p in values:
                args.append(schema_text(values[p]))
            elif p in u.res["arguments"] and p not in u.res["default"] or p in u.res["arguments"] and u.res["default"].get(p) == u.res["arguments"][p] and not self._is_key(u, p):
                args.append(literal(u.res["arguments"][p]))
            else:
                args.append(f"{prefix}{p}")
        return f"({', '.join(args)})"

    def _is_key(self, u: Unit, p: str) -> bool:
        return p in self.sections[u.config.__name__].defaults()

    def _body(self, u: Unit) -> list[str]:
        groups: dict[str, list[Line]] = {"": [], "native": [], "save": [], "tie": []}
        for r in u.rows:
            kind, _, rest = r["tag"].partition(":")
            groups[kind if kind in groups else ""].append(self._line(u, r, kind, rest))
        out = write(groups[""])
        if groups["native"]:
            out += ["  layout native:"] + write(groups["native"], 4)
        if groups["save"]:
            out += ["  layout save hub:"] + write(groups["save"], 4)
        return out + write(groups["tie"])

    def _line(self, u: Unit, r: dict, kind: str, rest: str) -> Line:
        left, sign, right = paths(r["name"])
        loops = [(v, s, e) for v, s, e in r["loops"]]
        if kind == "tie":
            return Line([], [], loops, r["condition"], "", (left, right))
        if kind == "use":
            _, name, path, role = rest.split(":")
            target = self.units[name]
            role = classes.AUTO_CLASSES.get(role, "")
            known = self.roles.get((target.model_type, name), ())
            sub = self.sections[u.config.__name__].subs.get(path)
            if (target.model_type in self.described and target.config is not u.config or sub is not None and sub.auto) and known and not target.params:
                text = f"use @{known[0]}"  # blocks of a file written by hand have names of their own, and those of one type are not another's
            elif role and role in self.roles.get((target.model_type, name), ()) and not target.params:
                text = f"use @{role}"
            else:
                owner = "" if target.config is u.config else target.model_type + "."
                text = f"use {owner}{self.blocks[name]}{self._call(target, r['values'], path + '.' if path else '')}"
            return Line(split(left), split(right), loops, r["condition"], text + (f" with {path}" if path else ""))
        dims = [schema_text(r["values"][k]) for k in sorted((k for k in r["values"] if k != "bias"), key=int)]
        text = f"{rest} [{', '.join(dims)}]"
        bias = r["values"].get("bias", "False")
        if bias != "False":
            text += " bias" if bias == "True" else f" bias({schema_text(bias)})"
        return Line(split(left), split(right), loops, r["condition"], text)
