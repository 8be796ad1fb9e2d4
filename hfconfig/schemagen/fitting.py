"""Expressions that fit samples: a condition, a count, a dimension.

Each is an expression that a trace recorded, else one found among the keys, else a case distinction whose tests are the comparisons
that the constructor made, or the config's booleans, nulls and strings.
"""
from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from typing import Any, Iterable

from .expressions import LOOPS, evaluate, keys_of, simplify
from .subject import Traced

_TOKEN = re.compile(r"@\d+")
_CONSTANT_INDEX = re.compile(r"\[(\d+)\]")
Instance = tuple[int, tuple[int, ...]]  # sample, loop indices
FAILED = object()


class Fitting:
    """What fits all of some samples. Tests and values are remembered per list of instances, which must live as long as this."""

    def __init__(self, samples: list[Traced], guards: Iterable[str], bounds: Iterable[str]) -> None:
        self.samples = samples
        self.envs = [s.env for s in samples]
        self.guards, self.bounds = list(guards), list(bounds)
        names = sorted(set().union(*self.envs), key=lambda k: (k.count("."), len(k), k))
        column = {k: [e.get(k) for e in self.envs] for k in names}
        self.ints = [k for k in names if any(is_int(v) for v in column[k]) and len({repr(v) for v in column[k]}) > 1]
        self.lists = [k for k in names if any(isinstance(v, list) for v in column[k]) and len({repr(v) for v in column[k]}) > 1]
        self.bools = [k for k in names if any(isinstance(v, bool) for v in column[k])]
        self.nulls = [k for k in names if any(v is None for v in column[k]) and any(v is not None for v in column[k])]
        self.texts = [k for k in names if any(isinstance(v, str) for v in column[k]) and len({repr(v) for v in column[k]}) > 1]
        self.column = column
        self._values: dict[tuple, list] = {}
        self._features: dict[tuple, list] = {}
        self.forgotten: set[str] = set()
        self.pool = self._pool()

    def forget(self, keys: set[str]) -> None:
        """Keys that nothing may depend on, since nobody can tell their values."""
        for column in (self.ints, self.lists, self.bools, self.nulls, self.texts):
            column[:] = [k for k in column if k not in keys]
        self.guards = [g for g in self.guards if not keys_of(g) & keys]
        self.bounds = [b for b in self.bounds if not keys_of(b) & keys]
        self.pool = [e for e in self.pool if not keys_of(e) & keys]
        self._features.clear()
        self.forgotten = keys

    # ---- evaluation

    def vector(self, text: str, insts: list[Instance], envs: list[dict] | None = None) -> list:
        key = (text, id(insts), id(envs))
        v = self._values.get(key)
        if v is None:
            v = self._values[key] = [at(text, (envs or self.envs)[s], idx) for s, idx in insts]
        return v

    def mask(self, text: str, insts: list[Instance], envs: list[dict] | None = None) -> int | None:
        """A bit per instance where text is true; None if it cannot be computed everywhere."""
        m = 0
        for n, v in enumerate(self.vector(text, insts, envs)):
            if v is FAILED:
                return None
            if v:
                m |= 1 << n
        return m

    def _pool(self) -> list[str]:
        """Expressions that traces showed, without loops: material for what lost its own."""
        seen: Counter[str] = Counter()
        for s in self.samples:
            for item in s.items.values():
                for e in item.exprs.values():
                    if e and not e.isdigit() and len(e) < 60 and "@" not in e and not _CONSTANT_INDEX.search(e):
                        seen[e] += 1
        return sorted(seen, key=lambda e: (len(e), e))[:120]

    # ---- tests

    def features(self, insts: list[Instance], nvars: int, envs: list[dict] | None = None, literals: tuple[str, ...] = ()) -> list[tuple[str, int]]:
        """Tests with their masks, the preferred first; of equal masks the first only."""
        key = (id(insts), id(envs), literals)
        if key in self._features:
            return self._features[key]
        full = (1 << len(insts)) - 1
        seen: set[int] = {0, full}
        out: list[tuple[str, int]] = []

        def add(text: str) -> None:
            m = self.mask(text, insts, envs)
            if m is None:
                none = [k for k in keys_of(text) if k in self.nulls]
                if not none:
                    return
                text = "(" + " and ".join([f"{k} is not None" for k in sorted(none)] + [text]) + ")"
                m = self.mask(text, insts, envs)
                if m is None:
                    return
            for t, x in ((text, m), (f"(not {text})", full ^ m)):
                if x not in seen:
                    seen.add(x)
                    out.append((t, x))

        vs = LOOPS[:nvars]
        for k in self.bools:
            add(k)
            if k in self.nulls:
                add(f"({k} is None)")
        for k in self.nulls:
            add(f"({k} is None)")
        loop_guards = [g for g in self.guards if "@" in g]
        for g in self.guards:
            if "@" not in g and "'" in g and not _CONSTANT_INDEX.search(g):
                add(g)
        for k in self.texts:
            for v in sorted({v for v in self.column[k] if isinstance(v, str)}):
                add(f"({k}=={v!r})")
        for g in loop_guards:
            for f in generalised(g, nvars, (), literals):
                add(f)
        if nvars:
            for g in self.guards:
                if "@" not in g and (places := sorted(set(map(int, _CONSTANT_INDEX.findall(g))))):
                    for v in vs:
                        if len(places) == 1:
                            add(_CONSTANT_INDEX.sub(f"[{v}]", g))
                        elif places[-1] - places[0] == 1:
                            add(_CONSTANT_INDEX.sub(lambda m: f"[{v}]" if int(m.group(1)) == places[-1] else f"[{v}-1]", g))
            for v in vs:
                add(f"({v}==0)")
            for v, w in itertools.combinations(vs, 2):
                add(f"({v}=={w})")
                add(f"({w}<{v})")
            for k in self.lists:
                for v in vs:
                    add(f"({v} in {k})")
                    if any(isinstance(x, bool) for c in self.column[k] if isinstance(c, list) for x in c):
                        add(f"{k}[{v}]")
                strings = {x for c in self.column[k] if isinstance(c, list) for x in c if isinstance(x, str)}
                for x in sorted(strings)[:6]:
                    for v in vs:
                        add(f"({k}[{v}]=={x!r})")
        for g in self.guards:
            if "@" not in g and "'" not in g:
                add(g)
        for k in self.ints[:60] if nvars else ():  # after what the constructor does compare
            for v in vs:
                add(f"({v}=={k}-1)")
                add(f"({v}<{k})")
        for k in self.ints:
            if any(v == 0 for v in self.column[k]):
                add(f"({k}==0)")
        self._features[key] = out
        return out

    # ---- fitting

    def condition(self, insts: list[Instance], want: int, nvars: int, envs: list[dict] | None = None, literals: tuple[str, ...] = ()) -> str | None:
        full = (1 << len(insts)) - 1
        if want == full:
            return "True"
        if want == 0:
            return "False"
        tests = self.features(insts, nvars, envs, literals)
        for t, m in tests:
            if m == want:
                return t
        above = [(t, m) for t, m in tests if m & want == want]
        for (t, m), (u, n) in itertools.combinations(above, 2):
            if m & n == want:
                return f"({t} and {u})"
        below = [(t, m) for t, m in tests if m & want == m and m]
        for (t, m), (u, n) in itertools.combinations(below, 2):
            if m | n == want:
                return f"({t} or {u})"
        parts, m = [], full
        for t, n in sorted(above, key=lambda x: x[1].bit_count())[:40]:
            if m & n != m:
                parts.append(t)
                m &= n
            if m == want:
                return "(" + " and ".join(self._needed(parts, above, want, full)) + ")"
        for t, m in below:   # A or (B and C)
            rest = want & ~m
            near = [(u, n) for u, n in tests if n & rest == rest]
            for (u, n), (w, o) in itertools.islice(itertools.combinations(near, 2), 3000):
                if n & o | m == want:
                    return f"({t} or ({u} and {w}))"
        return self._tree(want, full, tests, 4)

    @staticmethod
    def _needed(parts: list[str], above: list[tuple[str, int]], want: int, full: int) -> list[str]:
        masks = dict(above)
        for t in list(parts):
            rest = [p for p in parts if p != t]
            m = full
            for p in rest:
                m &= masks[p]
            if rest and m == want:
                parts = rest
        return parts

    def _tree(self, want: int, among: int, tests: list[tuple[str, int]], depth: int) -> str | None:
        if want & among == among:
            return "True"
        if want & among == 0:
            return "False"
        if depth == 0:
            return None
        ranked = []
        for n, (t, m) in enumerate(tests[:500]):
            a, b = among & m, among & ~m
            if a and b:
                ranked.append((_impurity(want, a) + _impurity(want, b), n, t, a, b))
        ranked.sort(key=lambda x: x[:2])
        for _, _, t, a, b in ranked[: 3 if depth > 2 else 1]:
            x = self._tree(want, a, tests, depth - 1)
            y = self._tree(want, b, tests, depth - 1) if x is not None else None
            if x is not None and y is not None:
                return _choice(t, x, y)
        return None

    def value(self, insts: list[Instance], want: list, exprs: list[str | None], nvars: int, envs: list[dict] | None = None, pool: Iterable[str] = (),
              literals: tuple[str, ...] = ()) -> str | None:
        """One expression for a dimension, count or argument over all instances."""
        full = (1 << len(insts)) - 1
        if all(isinstance(v, bool) for v in want):
            return self.condition(insts, sum(1 << n for n, v in enumerate(want) if v), nvars, envs, literals)
        traced: Counter[str] = Counter()
        literal = 0  # where the trace says that the value is a plain number, or nothing
        for n, (inst, e) in enumerate(zip(insts, exprs)):
            if e is None or e == repr(want[n]):
                literal |= 1 << n
            if e is not None and e != repr(want[n]) and not (self.forgotten and keys_of(e) & self.forgotten):
                for g in generalised(e, nvars, inst[1], literals):
                    traced[g] += 1
        options: dict[str, int] = {}
        for c, _ in traced.most_common(150):
            m = self._hits(c, insts, want, envs)
            if m:
                options[c] = m
        for c in pool:
            if c not in options and (m := self._hits(c, insts, want, envs)):
                options[c] = m
        whole = [c for c, m in options.items() if m == full]
        if whole:
            return min(whole, key=lambda c: (-traced[c] if traced[c] * 2 >= len(insts) else 0, len(simplify(c)), c))
        constant = {repr(v) for v in want}
        if len(constant) == 1 and not isinstance(want[0], list):
            return constant.pop()
        if literal and all(is_int(v) for v in want):
            found = self._search(insts, want, nvars, envs)
            if found:
                return found
        for v in {repr(v) for v in want}:
            m = sum(1 << n for n, x in enumerate(want) if repr(x) == v) & literal
            if m:
                options.setdefault(v, m)
        return self._cases(full, options, self.features(insts, nvars, envs, literals), 3)

    def _hits(self, text: str, insts: list[Instance], want: list, envs: list[dict] | None) -> int:
        m = 0
        for n, (x, y) in enumerate(zip(self.vector(text, insts, envs), want)):
            if x is not FAILED and x == y and isinstance(x, bool) == isinstance(y, bool):
                m |= 1 << n
        return m

    def _cases(self, among: int, options: dict[str, int], tests: list[tuple[str, int]], depth: int) -> str | None:
        covers = [c for c, m in options.items() if m & among == among]
        if covers:
            return min(covers, key=lambda c: (c.isdigit(), len(c)))
        if depth == 0:
            return None
        ranked = []
        for t, m in tests:
            a, b = among & m, among & ~m
            if not a or not b:
                continue
            best_a = max((x & a).bit_count() for x in options.values()) if options else 0
            best_b = max((x & b).bit_count() for x in options.values()) if options else 0
            ranked.append((a.bit_count() + b.bit_count() - best_a - best_b, t, a, b))
            if ranked[-1][0] == 0:
                break
        for _, t, a, b in sorted(ranked, key=lambda x: x[0])[: 1 if ranked and min(ranked)[0] == 0 else 4]:
            x = self._cases(a, options, tests, depth - 1)
            y = self._cases(b, options, tests, depth - 1) if x is not None else None
            if x is not None and y is not None:
                return f"({x} if {t} else {y})"
        return None

    def _search(self, insts: list[Instance], want: list[int], nvars: int, envs: list[dict] | None) -> str | None:
        """Two keys and an operator, for values that lost their expression."""
        if len(set(want)) < 2:
            return None
        vs = LOOPS[:nvars]
        atoms = [*self.ints, *self.pool, *[f"len({k})" for k in self.lists], *[f"{k}[{v}{o}]" for k in self.lists for v in vs for o in ("", "-1", "+1")],
                 *[f"{k}[{n}]" for k in self.lists for n in (0, -1)], *[f"sum({k})" for k in self.lists], *vs, *[f"({v}+1)" for v in vs], *[f"(2**{v})" for v in vs]]
        vectors: dict[tuple, str] = {}
        for a in dict.fromkeys(atoms):
            v = self.vector(a, insts, envs)
            if all(is_int(x) for x in v) and len(set(v)) > 1:
                vectors.setdefault(tuple(v), a)
        goal = tuple(want)
        if goal in vectors:
            return vectors[goal]
        for v, a in vectors.items():
            for c in (1, 2, 3, 4, 5, -1, -2, -3):
                if all(x + c == y for x, y in zip(v, goal)):
                    return f"({a}+{c})" if c > 0 else f"({a}-{-c})"
            if v[0] and goal[0] % v[0] == 0 and all(x * (goal[0] // v[0]) == y for x, y in zip(v, goal)):
                return f"({goal[0] // v[0]}*{a})"
            for c in (2, 3, 4, 8, 16, 32, 64):
                if all(x // c == y for x, y in zip(v, goal)):
                    return f"({a}//{c})"
                if all(-(-x // c) == y for x, y in zip(v, goal)):
                    return f"(({a}+{c - 1})//{c})"
            for c, o in ((2, 1), (2, -1), (3, 1), (3, -1), (4, 1), (2, 2), (4, 2), (3, 2)):
                if all(c * x + o == y for x, y in zip(v, goal)):
                    return f"({c}*{a}{o:+d})"
        for v, a in vectors.items():
            for c in (1, 2, 3, 4):
                if all(x for x in v) and all(y % x == 0 for x, y in zip(v, goal)) and (b := vectors.get(tuple(y // x for x, y in zip(v, goal)))):
                    return f"({a}*{b})"
                for o in (1, -1):
                    if all(x for x in v) and all((y - o) % x == 0 for x, y in zip(v, goal)) and (b := vectors.get(tuple((y - o) // x for x, y in zip(v, goal)))):
                        return f"({a}*{b}{o:+d})"
                if b := vectors.get(tuple(y - c * x for x, y in zip(v, goal))):
                    return f"({b}+{a})" if c == 1 else f"({b}+{c}*{a})"
                if (b := vectors.get(tuple(c * x - y for x, y in zip(v, goal)))):
                    return f"({c}*{a}-{b})" if c > 1 else f"({a}-{b})"
                if len(set(goal)) > 2 and (b := next((b for w, b in vectors.items() if all(x and c * y // x == z for x, y, z in zip(v, w, goal))), None)):
                    return f"({c}*{b}//{a})" if c > 1 else f"({b}//{a})"
        return None


def _impurity(want: int, among: int) -> float:
    n, yes = among.bit_count(), (want & among).bit_count()
    p = yes / n
    return 0.0 if p in (0, 1) else -n * (p * math.log2(p) + (1 - p) * math.log2(1 - p))


def _choice(test: str, x: str, y: str) -> str:
    """x if test else y, of conditions."""
    match x, y:
        case "True", "False":
            return test
        case "False", "True":
            return f"(not {test})"
        case "True", _:
            return f"({test} or {y})"
        case "False", _:
            return f"((not {test}) and {y})"
        case _, "True":
            return f"((not {test}) or {x})"
        case _, "False":
            return f"({test} and {x})"
    return f"(({test} and {x}) or ((not {test}) and {y}))"


def is_int(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)


def at(text: str, env: dict, idx: tuple[int, ...]) -> Any:
    try:
        return evaluate(text, env, idx)
    except Exception:
        return FAILED


def generalised(text: str, nvars: int, idx: tuple[int, ...] = (), literals: tuple[str, ...] = ()) -> list[str]:
    """Forms of a recorded expression in which tokens and constant list positions are loop variables, or numbers that the name has (literals)."""
    tokens = list(dict.fromkeys(_TOKEN.findall(text)))
    choices = [*LOOPS[:nvars], *(literals if tokens else ())]
    if tokens and not choices or len(tokens) > 3:
        return []
    out = []
    for choice in itertools.product(choices, repeat=len(tokens)):
        names = dict(zip(tokens, choice))
        out.append(_TOKEN.sub(lambda m: names[m.group(0)], text))
        if idx:  # a value that was made one turn earlier or later
            out += [_TOKEN.sub(lambda m: f"({names[m.group(0)]}{o})", text) for o in ("-1", "+1")]
    if idx and not tokens:
        constants = set(map(int, _CONSTANT_INDEX.findall(text)))
        for v, n in zip(LOOPS, idx):
            for off, form in ((0, v), (-1, f"{v}-1"), (1, f"{v}+1"), (2, f"{v}+2")):
                if n + off in constants:
                    out.append(_CONSTANT_INDEX.sub(lambda m: f"[{form}]" if int(m.group(1)) == n + off else m.group(0), text))
        if len(constants) == 2 and max(constants) - min(constants) == 1:
            for v, n in zip(LOOPS, idx):
                out.append(_CONSTANT_INDEX.sub(lambda m: f"[{v}{int(m.group(1)) - n:+d}]" if int(m.group(1)) != n else f"[{v}]", text))
    return out
