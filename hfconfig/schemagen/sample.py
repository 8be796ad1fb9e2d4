"""The draws that are committed: go test holds the embedded schemas against them without Python."""
from __future__ import annotations

import gzip
import hashlib
import json
from typing import Any, Callable, Iterable

from .work import Work


def digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{x}\n" for x in sorted(lines)).encode()).hexdigest()[:16]


def _tensors(shapes: dict[str, list[int]]) -> str:
    return digest(" ".join([n, *map(str, shape)]) for n, shape in shapes.items())


def sample(work: Work, names: Iterable[str], finite: Callable[[Any], Any]) -> bytes:
    """Two draws of each class, the first with the keys as drawn, the second with those that the model wrote, as compressed JSON lines.
    Names and shapes are digests: those of lines `name n m`, sorted."""
    return _packed([line for name in names for line in _lines(work, name, finite)])


def updated(old: bytes, work: Work, proven: dict[str, bool], finite: Callable[[Any], Any]) -> bytes:
    """The sample with other draws of some classes, or without them if they are no longer proven."""
    kept = [x for x in gzip.decompress(old).decode().splitlines(keepends=True) if json.loads(x)["class"] not in proven]
    return _packed(kept + [line for name, good in proven.items() if good for line in _lines(work, name, finite)])


def _lines(work: Work, name: str, finite: Callable[[Any], Any]) -> list[str]:
    draws = [d for d in work.draws(name) if not d["arguments"]]
    return [json.dumps(finite({
        "class": name, "config": d[config], "count": len(d["save"]), "save": _tensors(d["save"]), "native": _tensors(d["native"]),
        "ties": digest(f"{dropped} {kept}" for dropped, kept in d["ties"].items())}), separators=(",", ":"), sort_keys=True) + "\n"
        for d, config in zip(draws[:2], ("raw", "written"))]


def _packed(lines: list[str]) -> bytes:
    lines.sort(key=lambda x: json.loads(x)["class"])  # stable: the draws of a class keep their order
    return gzip.compress("".join(lines).encode(), 9, mtime=0)
