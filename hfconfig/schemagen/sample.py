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
    out = []
    for name in sorted(names):
        draws = [d for d in work.draws(name) if not d["arguments"]]
        for d, config in zip(draws[:2], ("raw", "written")):
            out.append(json.dumps(finite({
                "class": name, "config": d[config], "count": len(d["save"]), "save": _tensors(d["save"]), "native": _tensors(d["native"]),
                "ties": digest(f"{dropped} {kept}" for dropped, kept in d["ties"].items())}), separators=(",", ":"), sort_keys=True) + "\n")
    return gzip.compress("".join(out).encode(), 9, mtime=0)
