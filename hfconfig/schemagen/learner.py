"""From what some traces showed to rows: name template, loops, condition, one expression per dimension.

Numbers in names are loops where their range varies with the config.
"""
from __future__ import annotations

import re
from collections import defaultdict
from typing import Iterable

from .expressions import LOOPS, Env, keys_of
from .fitting import Fitting, Instance, at, generalised, is_int
from .names import referring, split_pair
from .schema import Row, Schema, join
from .subject import Traced

_DIGITS = re.compile(r"(\d+)")
_LITERAL = re.compile(r"(?<![\d{])\d+(?![\d}])")


class Learner(Fitting):
    def __init__(self, samples: list[Traced], guards: Iterable[str], bounds: Iterable[str]) -> None:
        super().__init__(samples, guards, bounds)
        self.problems: list[str] = []
        self._instances: dict[tuple, list[Instance]] = {}
        self._alive: list = []

    # ---- derived keys

    def derive(self) -> dict[str, tuple[str | None, str]]:
        raw = [dict(s.flat) for s in self.samples]
        for e, s in zip(raw, self.samples):  # scalars derived from null count as known to what is derived from them
            for k, (v, _) in s.derived.items():
                e.setdefault(k, None)
        out: dict[str, tuple[str | None, str]] = {}
        for k in sorted(set().union(*[s.derived for s in self.samples])):
            mine = [n for n, s in enumerate(self.samples) if k in s.derived and s.flat.get(k) is None]
            if not mine:
                continue
            values = [self.samples[n].derived[k] for n in mine]
            envs = [Env({**self.envs[n], k: None}) for n in range(len(self.samples))]
            insts: list[Instance] = [(n, ()) for n in mine]
            self._alive += [envs, insts]
            if not isinstance(values[0][0], list):
                x = self.value(insts, [v for v, _ in values], [e if e and "@" not in e else None for _, e in values], 0, envs, self.ints)
                if x is None:
                    self.problems.append(f"derived key {k}")
                else:
                    out[k] = (None, x)
                continue
            if len({repr(v) for v, _ in values}) == 1:
                out[k] = (None, repr(values[0][0]))
                continue
            listed = set().union(*[s.derived for s in self.samples])  # their lengths follow from keys that are better named
            ints = [x for x in self.ints if x != k] + [f"len({x})" for x in self.lists if x not in listed]
            count = self.value(insts, [len(v) for v, _ in values], [None] * len(insts), 0, envs, [b for b in self.bounds if not keys_of(b) & listed] + ints)
            insts = [(n, (i,)) for n, (v, _) in zip(mine, values) for i in range(len(v))]
            self._alive.append(insts)
            items = [x for v, _ in values for x in v]
            element = self.value(insts, items, [None] * len(insts), 1, envs, ["i", *ints] if all(is_int(x) for x in items) else [])
            if count is None or element is None:
                self.problems.append(f"derived key {k}")
            else:
                out[k] = (count, element)
        return out

    # ---- rows

    def learn(self) -> Schema:
        derived = self.derive()
        self.forget({k for s in self.samples for k in s.derived} - derived.keys())
        self.rows: list[Row] = []
        tree = []
        pairs: dict[str, set[str]] = defaultdict(set)
        for sample in self.samples:
            for tag, name in sample.items:
                pairs[tag].add(name)
        referred = {tag: referring(sorted(names)) for tag, names in pairs.items()}
        for s, sample in enumerate(self.samples):
            for tag, name in sample.items:
                path, sign, rest = split_pair(referred[tag][name])
                tree.append((s, (), _DIGITS.split(path), (tag, sign + rest), (tag, name)))
        self._grow("", [], tree)
        return Schema(self.rows, derived, self.problems)

    def _grow(self, prefix: str, loops: list[tuple[str, int, str]], items: list[tuple]) -> None:
        by_head: dict[str, list] = defaultdict(list)
        for it in items:
            by_head[it[2][0]].append(it)
        for head, its in by_head.items():
            done: dict[tuple, list] = defaultdict(list)
            rest = []
            for it in its:
                if len(it[2]) == 1:
                    done[it[3]].append(it)
                else:
                    rest.append(it)
            for (tag, suffix), leaves in done.items():
                self._leaf(tag, prefix + head + suffix, loops, leaves)
            if rest:
                self._number(prefix + head, loops, rest)

    def _number(self, prefix: str, loops: list[tuple[str, int, str]], items: list[tuple]) -> None:
        sets: dict[Instance, set[int]] = defaultdict(set)
        for s, idx, p, *_ in items:
            sets[s, idx].add(int(p[1]))
        loop = self._loop(prefix, loops, sets, items)
        if loop and loop[2].isdigit():  # a fixed number: a loop only if its turns are alike
            rows, problems = list(self.rows), list(self.problems)
            self._grow(prefix + "{" + loop[0] + "}", loops + [loop], [(s, idx + (int(p[1]),), p[2:], tag, key) for s, idx, p, tag, key in items])
            if len(self.problems) == len(problems):
                return
            self.rows, self.problems = rows, problems
        elif loop:
            self._grow(prefix + "{" + loop[0] + "}", loops + [loop], [(s, idx + (int(p[1]),), p[2:], tag, key) for s, idx, p, tag, key in items])
            return
        by_number: dict[str, list] = defaultdict(list)
        for s, idx, p, tag, key in items:
            by_number[p[1]].append((s, idx, p[2:], tag, key))
        for n, sub in by_number.items():
            self._grow(prefix + n, loops, sub)

    def _loop(self, prefix: str, loops: list, sets: dict[Instance, set[int]], items: list[tuple]) -> tuple[str, int, str] | None:
        kinds = {frozenset(x) for x in sets.values()}
        if len(loops) == len(LOOPS):
            return None
        var, nvars = LOOPS[len(loops)], len(loops)
        if len(kinds) == 1:
            numbers = sorted(next(iter(kinds)))
            if len(numbers) < 3 or numbers != list(range(len(numbers))) or not prefix.endswith("."):
                return None
            inside: dict[tuple, set] = defaultdict(set)
            for s, idx, p, tag, _ in items:
                inside[s, idx, int(p[1])].add((tuple(p[2:]), tag))
            if any(inside[s, idx, n] != inside[s, idx, numbers[0]] for s, idx in sets for n in numbers):
                return None
            return var, 0, str(len(numbers))
        insts = sorted(sets)
        start = min(min(x) for x in sets.values())
        want = [max(sets[p]) + 1 for p in insts]
        base = [g for b in sorted(self.bounds, key=len) for g in generalised(b, nvars)] + self.ints + [f"len({k})" for k in self.lists]
        base += [f"{k}[{v}]" for k in self.lists for v in LOOPS[:nvars]]
        base = list(dict.fromkeys(base + self.pool[:60]))
        more = [f.format(c) for c in base for f in ("({}+1)", "({}-1)", "(2*{})", "(2*{}+1)", "(2*{}-1)", "(3*{})")]
        more += [f"{k}[{v}+1]" for k in self.lists for v in LOOPS[:nvars]] + [f"{k}[len({k})-1-{v}]" for k in self.lists for v in LOOPS[:nvars]]
        full = (1 << len(insts)) - 1
        for c in base + more:
            if all(at(c, self.envs[s], idx) == w for (s, idx), w in zip(insts, want)):
                return var, start, c
        end = self.value(insts, want, [None] * len(insts), nvars, None, base + more[:200])
        if end is None or re.fullmatch(r"\d+", end):
            return None
        if not re.search(r"[A-Za-z_]{2,}", re.sub(r"if .*? else|\b(if|else|None|True|False|is|not|and|or)\b", "", end)):
            return None
        return var, start, end

    def _expanded(self, loops: list[tuple[str, int, str]]) -> list[Instance]:
        key = tuple(loops)
        if key not in self._instances:
            out: list[Instance] = []

            def expand(s: int, idx: tuple[int, ...]) -> None:
                if len(idx) == len(loops):
                    out.append((s, idx))
                    return
                _, start, end = loops[len(idx)]
                n = at(end, self.envs[s], idx)
                for i in range(start, n if is_int(n) else 0):
                    expand(s, idx + (i,))

            for s in range(len(self.samples)):
                expand(s, ())
            self._instances[key] = out
        return self._instances[key]

    def _leaf(self, tag: str, name: str, loops: list[tuple[str, int, str]], leaves: list[tuple]) -> None:
        present = {(s, idx): key for s, idx, _, _, key in leaves}
        insts = self._expanded(loops)
        known = set(insts)
        if any(p not in known for p in present):
            self.problems.append(f"range of {name}")
            return
        item = {p: self.samples[p[0]].items[key] for p, key in present.items()}
        literals = tuple(dict.fromkeys(_LITERAL.findall(split_pair(name)[0])))[:3]
        if tag.startswith("use:"):
            path = tag.split(":")[3]
            names = sorted(set().union(*[i.values for i in item.values()]))
            groups = {tuple(names): set(item)}
        else:
            path = ""
            groups = defaultdict(set)
            for p, i in item.items():
                groups[tuple(i.values)].add(p)
        for names, here in groups.items():
            cond = self.condition(insts, sum(1 << n for n, p in enumerate(insts) if p in here), len(loops), None, literals)
            if cond is None:
                self.problems.append(f"condition of {name}")
                continue
            got = insts if len(here) == len(insts) else self._subset(insts, here)
            values = {}
            for a in names:
                want = [item[p].values[a] if a in item[p].values else self.envs[p[0]].get(join(path, a)) for p in got]
                exprs = [item[p].exprs.get(a) if a in item[p].values else join(path, a) for p in got]
                v = self.value(got, want, exprs, len(loops), literals=literals)
                if v is None:
                    self.problems.append(f"dimension {a} of {name}")
                    break
                values[a] = v
            else:
                self.rows.append(Row(tag, name, loops, cond, values))

    def _subset(self, insts: list[Instance], here: set[Instance]) -> list[Instance]:
        key = ("subset", id(insts), frozenset(here))
        if key not in self._instances:
            self._instances[key] = [p for p in insts if p in here]
        return self._instances[key]
