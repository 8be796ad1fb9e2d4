"""Names with numbers in them, and pairs of such names: the native one and, behind "|", that on disk, or behind "=" the source of a tie."""
from __future__ import annotations

import collections
import re
from typing import Iterable

_NUMBER = re.compile(r"\d+|\{\w\}")
_REFERENCE = re.compile(r"<(\d+)>")


def split_pair(name: str) -> tuple[str, str, str]:
    """The first name, the sign, the second."""
    m = re.search(r"[|=]", name)
    return (name[:m.start()], m.group(0), name[m.end():]) if m else (name, "", "")


def resolved(name: str) -> str:
    """A pair of names with <n> replaced by the n-th number of the first."""
    left, sign, right = split_pair(name)
    if "<" not in right:
        return name
    numbers = _NUMBER.findall(left)
    return left + sign + _REFERENCE.sub(lambda r: numbers[int(r.group(1))], right)


def referring(names: Iterable[str]) -> dict[str, str]:
    """{name: with references}: in the names for two, a number of the second becomes <n> where it is the n-th of the first in all names that are alike but
    for their numbers. A number that is the same in all of them stays if it is part of a word (fc1), for a layer's may equal it by chance."""
    alike = collections.defaultdict(list)
    for name in names:
        left, sign, right = split_pair(name)
        if sign:
            alike[_NUMBER.sub("0", name)].append((name, left, sign, right))
    out = {name: name for name in names}
    for group in alike.values():
        first = [_NUMBER.findall(left) for _, left, _, _ in group]
        second = [_NUMBER.findall(right) for _, _, _, right in group]
        if first == second:
            refer: dict[int, int] = {n: n for n in range(len(first[0]))}
        else:
            refer = {}
            for n, m in enumerate(_NUMBER.finditer(group[0][3])):
                at = m.start()
                whole = (at == 0 or group[0][3][at - 1] == ".") and group[0][3][m.end():m.end() + 1] in ("", ".")
                places = [k for k in range(len(first[0])) if all(a[k] == b[n] for a, b in zip(first, second))]
                if places and (whole or len({b[n] for b in second}) > 1):
                    refer[n] = min(places, key=lambda k: (k in refer.values(), k))
        for name, left, sign, right in group:
            at = iter(range(len(second[0])))
            out[name] = left + sign + _NUMBER.sub(lambda m: f"<{refer[n]}>" if (n := next(at)) in refer else m.group(0), right)
    return out
