"""The work directory: one result and one file of draws per class. A run that is killed goes on where it was."""
from __future__ import annotations

import dataclasses
import gzip
import json
import os
import pathlib
from typing import Any

from .generate import Result


class Work:
    def __init__(self, directory: str) -> None:
        self.root = pathlib.Path(directory)
        for d in ("results", "draws", "arch"):
            (self.root / d).mkdir(parents=True, exist_ok=True)

    def done(self, name: str) -> bool:
        return (self.root / "results" / f"{name}.json").exists()

    def save(self, res: Result, draws: list[dict]) -> None:
        _write(self.root / "draws" / f"{res.name}.json.gz", gzip.compress(json.dumps(draws, separators=(",", ":")).encode(), 6, mtime=0))
        _write(self.root / "results" / f"{res.name}.json", json.dumps(dataclasses.asdict(res), indent=1).encode())

    def result(self, name: str) -> dict[str, Any] | None:
        try:
            return json.loads((self.root / "results" / f"{name}.json").read_bytes())
        except FileNotFoundError:
            return None

    def results(self) -> dict[str, dict[str, Any]]:
        return {p.stem: json.loads(p.read_bytes()) for p in sorted((self.root / "results").glob("*.json"))}

    def draws(self, name: str) -> list[dict]:
        return json.loads(gzip.decompress((self.root / "draws" / f"{name}.json.gz").read_bytes()))


def _write(path: pathlib.Path, data: bytes) -> None:
    part = path.with_name(path.name + f".{os.getpid()}")
    part.write_bytes(data)
    part.replace(path)
