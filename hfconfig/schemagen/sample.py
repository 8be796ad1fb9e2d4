"""The draws that are committed: go test holds the embedded schemas against them without Python."""
from __future__ import annotations

import gzip
import hashlib
import json
import math
from typing import Any, Iterable

from .work import Work


def digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{x}\n" for x in sorted(lines)).encode()).hexdigest()[:16]


def _tensors(shapes: dict[str, list[int]]) -> str:
    return digest(" ".join([n, *map(str, shape)]) for n, shape in shapes.items())


def sample(work: Work, names: Iterable[str]) -> bytes:
    """Two draws of each class, the first with the keys as drawn, the second with those that the model wrote, as compressed JSON lines.
    Names and shapes are digests: those of lines `name n m`, sorted."""
    return packed([x for name in names for x in _lines(work, name)])


def updated(old: bytes, work: Work, proven: dict[str, bool]) -> bytes:
    """The sample with other draws of some classes, or without them if they are no longer proven."""
    kept = [x for x in gzip.decompress(old).decode().splitlines(keepends=True) if json.loads(x)["class"] not in proven]
    return packed(kept + [x for name, good in proven.items() if good for x in _lines(work, name)])


def _lines(work: Work, name: str) -> list[str]:
    draws = [d for d in work.draws(name) if not d["arguments"]]
    return [line(d, config) for d, config in zip(draws[:2], ("raw", "written"))]


def line(draw: dict, config: str) -> str:
    return json.dumps(finite({
        "class": draw["class"], "config": draw[config], "count": len(draw["save"]), "save": _tensors(draw["save"]), "native": _tensors(draw["native"]),
        "ties": digest(f"{dropped} {kept}" for dropped, kept in draw["ties"].items())}), separators=(",", ":"), sort_keys=True) + "\n"


def packed(lines: list[str]) -> bytes:
    lines.sort(key=lambda x: json.loads(x)["class"])  # stable: the draws of a class keep their order
    return gzip.compress("".join(lines).encode(), 9, mtime=0)


def finite(x: Any) -> Any:
    """Infinities as transformers 5 writes them; JSON has none."""
    if isinstance(x, float) and not math.isfinite(x):
        return {"__float__": {math.inf: "Infinity", -math.inf: "-Infinity"}.get(x, "NaN")}
    if isinstance(x, dict):
        return {k: finite(v) for k, v in x.items()}
    return [finite(v) for v in x] if isinstance(x, list) else x
