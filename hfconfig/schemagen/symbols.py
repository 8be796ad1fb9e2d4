"""Values that remember how they were computed from config keys.

A config is filled with these instead of plain values; a model's constructor then computes with them as usual. Each knows its
expression in Python syntax over config keys ("num_attention_heads*head_dim"). Loop variables are tokens "@0", "@1", ... of the
range that made them. Comparisons that the constructor makes are recorded as guards: they are what its conditions are made of.
"""
from __future__ import annotations

import builtins
import itertools
import math
import sys
import types
from collections import defaultdict
from typing import Any, Callable

MAX_TEXT = 400  # a longer expression is of no use to anybody


class Recorder:
    """What a trace leaves besides shapes. One trace at a time."""

    on = False
    guards: dict[str, int] = {}
    bounds: dict[str, int] = {}
    strings: dict[str, set[str]] = defaultdict(set)
    loops: dict[str, str] = {}

    @classmethod
    def reset(cls) -> None:
        cls.guards, cls.bounds, cls.strings, cls.loops = {}, {}, defaultdict(set), {}

    @classmethod
    def guard(cls, text: str) -> None:
        if cls.on and len(text) < 160:
            cls.guards[text] = cls.guards.get(text, 0) + 1

    @classmethod
    def bound(cls, text: str) -> None:
        if cls.on:
            cls.bounds[text] = 1

    @classmethod
    def token(cls, text: str) -> str:
        return cls.loops.setdefault(text, f"@{len(cls.loops)}")


class paused:
    """Nothing is recorded inside."""

    def __enter__(self) -> None:
        self.was, Recorder.on = Recorder.on, False

    def __exit__(self, *_: object) -> None:
        Recorder.on = self.was


def expr(x: Any) -> str:
    e = getattr(x, "expr", None)
    return e if e is not None else repr(plain(x))


def symbolic(x: Any) -> bool:
    return getattr(x, "expr", None) is not None


class _Remembers:
    expr: str

    def __deepcopy__(self, memo: dict) -> Any:
        return self

    def __copy__(self) -> Any:
        return self


class Sym(_Remembers, int):
    def __new__(cls, value: int, text: str) -> Any:
        if len(text) > MAX_TEXT:
            return int(value)
        self = int.__new__(cls, value)
        self.expr = text
        return self

    __hash__ = int.__hash__

    def __reduce__(self) -> tuple:
        return int, (int.__int__(self),)

    def __truediv__(self, o: Any) -> Any:
        return SymFloat(int.__int__(self) / plain(o), f"({expr(self)}/{expr(o)})") if isinstance(o, (int, float)) else NotImplemented

    def __rtruediv__(self, o: Any) -> Any:
        return SymFloat(plain(o) / int.__int__(self), f"({expr(o)}/{expr(self)})") if isinstance(o, (int, float)) else NotImplemented

    def __neg__(self) -> Any:
        return Sym(-int.__int__(self), f"(-{expr(self)})")

    def __bool__(self) -> bool:
        Recorder.guard(f"({self.expr}!=0)")
        return int.__int__(self) != 0


class SymFloat(_Remembers, float):
    def __new__(cls, value: float, text: str) -> Any:
        if len(text) > MAX_TEXT:
            return float(value)
        self = float.__new__(cls, value)
        self.expr = text
        return self

    __hash__ = float.__hash__

    def __reduce__(self) -> tuple:
        return float, (float.__float__(self),)

    def __truediv__(self, o: Any) -> Any:
        return SymFloat(float.__float__(self) / plain(o), f"({expr(self)}/{expr(o)})")

    def __rtruediv__(self, o: Any) -> Any:
        return SymFloat(plain(o) / float.__float__(self), f"({expr(o)}/{expr(self)})")

    def __int__(self) -> Any:
        return Sym(int(float.__float__(self)), f"int({self.expr})")

    __trunc__ = __int__

    def __ceil__(self) -> Any:
        return Sym(float.__ceil__(self), f"ceil({self.expr})")

    def __floor__(self) -> Any:
        return Sym(float.__floor__(self), f"floor({self.expr})")

    def __round__(self, n: int | None = None) -> Any:
        if n is None:
            return Sym(round(float.__float__(self)), f"round({self.expr})")
        return round(float.__float__(self), n)


class SymStr(_Remembers, str):
    def __new__(cls, value: str, text: str) -> Any:
        self = str.__new__(cls, value)
        self.expr = text
        return self

    __hash__ = str.__hash__

    def __reduce__(self) -> tuple:
        return str, (str.__str__(self),)

    def note(self, o: Any) -> None:
        if Recorder.on and type(o) is str and 0 < len(o) < 40 and "'" not in o and "\\" not in o:
            Recorder.guard(f"({self.expr}=={o!r})")
            Recorder.strings[self.expr].add(o)

    def __eq__(self, o: Any) -> Any:
        self.note(o)
        return str.__eq__(self, o)

    def __ne__(self, o: Any) -> Any:
        self.note(o)
        return str.__ne__(self, o)


class SymList(_Remembers, list):
    def __init__(self, values: Any, text: str) -> None:
        self.expr = text
        list.__init__(self, [wrap(v, f"{text}[{n}]") for n, v in enumerate(values)])

    def __reduce__(self) -> tuple:
        return list, ([plain(v) for v in self],)

    def __copy__(self) -> "SymList":
        return self.renamed(list(self), self.expr)

    copy = __copy__

    @staticmethod
    def renamed(values: list, text: str) -> "SymList":
        s = SymList.__new__(SymList)
        list.__init__(s, values)
        s.expr = text
        return s

    def __getitem__(self, n: Any) -> Any:
        v = list.__getitem__(self, n)
        if isinstance(n, slice):
            if n.step is None:
                return self.renamed(v, f"{self.expr}[{'' if n.start is None else expr(n.start)}:{'' if n.stop is None else expr(n.stop)}]")
            return v
        if isinstance(n, Sym) or n < 0:
            return wrap(plain(v), f"{self.expr}[{expr(n)}]")
        return v

    def __contains__(self, x: Any) -> bool:
        if symbolic(x):
            Recorder.guard(f"({expr(x)} in {self.expr})")
        elif type(x) is str and Recorder.on and "'" not in x:
            Recorder.guard(f"({x!r} in {self.expr})")
            Recorder.strings[self.expr].add(x)
        return list.__contains__(self, x)

    def index(self, x: Any, *a: int) -> int:
        return list.index(self, x, *a)


class SymRange(list):
    """What range gives for symbols; a list, since it is indexed and measured like one."""


def plain(x: Any) -> Any:
    if isinstance(x, Sym):
        return int.__int__(x)
    if isinstance(x, SymFloat):
        return float.__float__(x)
    if isinstance(x, SymStr):
        return str.__str__(x)
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    return x


def wrap(v: Any, text: str) -> Any:
    """Returns v as a value that remembers; what cannot remember stays as it is."""
    if isinstance(v, bool) or v is None:
        return v
    if isinstance(v, int):
        return Sym(v, text)
    if isinstance(v, float):
        return SymFloat(v, text)
    if isinstance(v, str):
        return SymStr(v, text)
    if isinstance(v, (list, tuple)) and all(isinstance(x, (int, float, str, list, tuple)) for x in v):
        return SymList(v, text)
    return v


def _arithmetic(cls: type, name: str, op: str) -> None:
    def compute(a: Any, b: Any, reverse: bool) -> Any:
        if not isinstance(b, (int, float)):
            return NotImplemented
        x, y = plain(a), plain(b)
        fn = getattr(x.__class__ if not isinstance(y, float) else float, f"__{'r' if reverse else ''}{name}__")
        r = fn(float(x) if isinstance(y, float) else x, y)
        if r is NotImplemented:
            return r
        left, right = (expr(b), expr(a)) if reverse else (expr(a), expr(b))
        text = f"({left}{op}{right})"
        return SymFloat(r, text) if isinstance(r, float) else Sym(r, text) if isinstance(r, int) else r

    setattr(cls, f"__{name}__", lambda self, o: compute(self, o, False))
    setattr(cls, f"__r{name}__", lambda self, o: compute(self, o, True))


for _n, _o in [("add", "+"), ("sub", "-"), ("mul", "*"), ("floordiv", "//"), ("mod", "%"), ("pow", "**")]:
    _arithmetic(Sym, _n, _o)
    _arithmetic(SymFloat, _n, _o)


def _comparison(cls: type, base: type, name: str, op: str) -> None:
    def f(self: Any, o: Any) -> Any:
        if isinstance(o, (int, float)) and not isinstance(o, bool):
            Recorder.guard(f"({expr(self)}{op}{expr(o)})")
        x, y = plain(self), plain(o) if isinstance(o, (int, float)) else o
        if isinstance(y, float):
            x = float(x)
        return getattr(type(x), f"__{name}__")(x, y)

    setattr(cls, f"__{name}__", f)


for _n, _o in [("eq", "=="), ("ne", "!="), ("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">=")]:
    _comparison(Sym, int, _n, _o)
    _comparison(SymFloat, float, _n, _o)
Sym.__hash__ = int.__hash__
SymFloat.__hash__ = float.__hash__


# ---- stand-ins for builtins and math, put into the globals of modeling and configuration modules

class _IntMeta(type):
    def __call__(cls, *a: Any, **k: Any) -> Any:
        if len(a) == 1 and isinstance(a[0], Sym):
            return a[0]
        if len(a) == 1 and isinstance(a[0], SymFloat):
            return a[0].__int__()
        return builtins.int(*a, **k)

    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, builtins.int)

    def __eq__(cls, o: Any) -> bool:
        return o is builtins.int or type.__eq__(cls, o) is True

    def __hash__(cls) -> int:
        return hash(builtins.int)


class _Int(metaclass=_IntMeta):
    pass


class _RangeMeta(type):
    def __call__(cls, *a: Any) -> Any:
        if not any(symbolic(x) for x in a):
            return builtins.range(*a)
        token = Recorder.token(",".join(expr(x) for x in a))
        Recorder.bound(expr(a[0] if len(a) == 1 else a[1]))
        return SymRange(Sym(v, token) for v in builtins.range(*[plain(x) for x in a]))

    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, (builtins.range, SymRange))


class _Range(metaclass=_RangeMeta):
    pass


class _ListMeta(type):
    def __call__(cls, *a: Any) -> Any:
        if len(a) == 1 and isinstance(a[0], SymList):
            return a[0].copy()
        return builtins.list(*a)

    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, builtins.list)

    def __eq__(cls, o: Any) -> bool:
        return o is builtins.list or type.__eq__(cls, o) is True

    def __hash__(cls) -> int:
        return hash(builtins.list)

    def __getitem__(cls, x: Any) -> Any:
        return builtins.list[x]


class _List(metaclass=_ListMeta):
    pass


def _len(x: Any) -> int:
    n = builtins.len(x)
    if isinstance(x, SymList):
        Recorder.bound(f"len({x.expr})")
        return Sym(n, f"len({x.expr})")
    return n


def _enumerate(x: Any, start: int = 0) -> Any:
    if isinstance(x, SymList) and plain(start) == 0:
        token = Recorder.token(f"len({x.expr})")
        return builtins.zip((Sym(n, token) for n in builtins.range(len(x))), (x[Sym(n, token)] for n in builtins.range(len(x))))
    return builtins.enumerate(x, plain(start))


def _zip(*lists: Any, **k: Any) -> Any:
    if any(isinstance(x, SymList) for x in lists):
        first = next(x for x in lists if isinstance(x, SymList))
        token = Recorder.token(f"len({first.expr})")
        lists = tuple([x[Sym(n, token)] for n in builtins.range(len(x))] if isinstance(x, SymList) else x for x in lists)
    return builtins.zip(*lists, **k)


def _extreme(fn: Callable, word: str) -> Callable:
    def f(*a: Any, **k: Any) -> Any:
        items = a[0] if len(a) == 1 and isinstance(a[0], (list, tuple)) else a
        if items and not k and any(symbolic(x) for x in items) and all(isinstance(x, (int, float)) for x in items):
            inside = a[0].expr if isinstance(items, SymList) else ",".join(expr(x) for x in items)
            return wrap(fn(plain(list(items))), f"{word}({inside})")
        return fn(*a, **k)

    return f


def _sum(x: Any, *a: Any) -> Any:
    if isinstance(x, (SymList,)) and not a:
        return wrap(builtins.sum(plain(x)), f"sum({x.expr})")
    return builtins.sum(x, *a)


class _Math(types.ModuleType):
    """math, where it keeps or can keep the expression."""

    def __getattr__(self, name: str) -> Any:
        return getattr(math, name)

    @staticmethod
    def prod(x: Any, **k: Any) -> Any:
        x = list(x)
        if any(symbolic(v) for v in x):
            out = x[0]
            for v in x[1:]:
                out = out * v
            return out
        return math.prod(x, **k)

    @staticmethod
    def sqrt(x: Any) -> Any:
        return SymFloat(math.sqrt(plain(x)), f"({x.expr}**0.5)") if symbolic(x) else math.sqrt(x)


STAND_INS: dict[str, Any] = {
    "int": _Int, "range": _Range, "len": _len, "enumerate": _enumerate, "zip": _zip, "sum": _sum, "list": _List,
    "max": _extreme(max, "max"), "min": _extreme(min, "min"),
}
_math = _Math("math")
_itertools = types.SimpleNamespace(**vars(itertools) | {"product": lambda *x: itertools.product(*map(plain, x))})  # places of a grid are plain numbers
_done: set[str] = set()
_known = 0


def patch_modules() -> None:
    """Puts the stand-ins into the modeling and configuration modules loaded so far."""
    global _known
    if len(sys.modules) == _known:
        return
    _known = len(sys.modules)
    for name, module in list(sys.modules.items()):
        if name in _done or not name.startswith("transformers.models.") or ".auto." in name:
            continue
        if ".modeling_" in name or ".configuration_" in name:
            _done.add(name)
            names = vars(module)
            for k, v in STAND_INS.items():
                if k not in names:
                    setattr(module, k, v)
            if names.get("math") is math:
                module.math = _math
            if names.get("itertools") is itertools:
                module.itertools = _itertools
            if "get_sinusoid_encoding_table" in names:  # fills a table number by number, of which only the size matters
                module.get_sinusoid_encoding_table = lambda n, d, torch=names["torch"]: torch.zeros(1, n, d)
