"""What is learned of one class: rows and derived keys, and where a trace contradicts them."""
from __future__ import annotations

import dataclasses
import re
from typing import Any

from .expressions import LOOPS, evaluate
from .names import resolved
from .subject import Traced


def mentions(text: str, variables: str) -> bool:
    """Whether an expression uses one of the loop variables."""
    return any(re.search(rf"(?<![\w.']){v}(?![\w.'])", text) for v in variables)


@dataclasses.dataclass
class Row:
    tag: str
    name: str                                # numbers as {i}
    loops: list[tuple[str, int, str]]        # variable, start, end
    condition: str
    values: dict[str, str]


@dataclasses.dataclass
class Schema:
    rows: list[Row]
    derived: dict[str, tuple[str | None, str]]   # key -> count of a list or None, expression
    problems: list[str]

    def items(self, env: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
        out: dict[tuple[str, str], dict[str, Any]] = {}
        for row in self.rows:
            self._expand(row, env, (), out)
        return out

    def _expand(self, row: Row, env: dict, loop: tuple[int, ...], out: dict) -> None:
        if len(loop) < len(row.loops):
            if loop and not mentions(row.condition, LOOPS[len(loop):]) and not evaluate(row.condition, env, loop):
                return
            _, start, end = row.loops[len(loop)]
            for n in range(start, evaluate(end, env, loop)):
                self._expand(row, env, loop + (n,), out)
        elif evaluate(row.condition, env, loop):
            name = re.sub(r"\{(\w)\}", lambda m: str(loop[LOOPS.index(m.group(1))]), row.name)
            out[row.tag, resolved(name)] = {k: evaluate(v, env, loop) for k, v in row.values.items()}


def differences(schema: Schema, seen: Traced) -> list[str]:
    """What the schema says otherwise than a trace."""
    try:
        got = schema.items(seen.env)
    except Exception as e:
        return [f"{type(e).__name__}: {str(e)[:80]}"]
    out = [f"{k[1]} {'missing' if k in seen.items else 'too much'}" for k in got.keys() ^ seen.items.keys()]
    for k in got.keys() & seen.items.keys():
        want = seen.items[k].values
        have = got[k]
        if k[0].startswith("use:"):
            want = {**{a: seen.env.get(join(k[0].split(":")[3], a)) for a in have}, **want}
        have = {a: bool(v) if isinstance(want.get(a), bool) else v for a, v in have.items()}
        if want != have:
            out.append(f"{k[1]}: {want} not {have}")
    return out


def join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
