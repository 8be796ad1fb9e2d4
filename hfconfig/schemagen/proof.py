"""Holds schema files against the draws, with the Go interpreter, and keeps what agrees."""
from __future__ import annotations

import json
import math
import pathlib
import subprocess
import tempfile
from collections import defaultdict
from typing import Any

from . import classes
from .emit import Emitter, write_files
from .work import Work

_MODULE = pathlib.Path(__file__).resolve().parents[2]


def prove(files: dict[str, str], work: Work, names: list[str], scratch: pathlib.Path) -> dict[str, str]:
    """{class: what is wrong, "" if nothing} for all draws of the classes."""
    arch = scratch / "arch"
    arch.mkdir(exist_ok=True)
    for old in arch.glob("*.arch"):
        old.unlink()
    for name, text in files.items():
        (arch / name).write_text(text)
    tool = scratch / "prove"
    subprocess.run(["go", "build", "-o", tool, "./hfconfig/schemagen/prove"], cwd=_MODULE, check=True)
    with tempfile.TemporaryFile("w+") as draws, tempfile.TemporaryFile("w+") as verdicts:
        for name in names:
            for n, d in enumerate(work.draws(name)):
                if not d["arguments"]:
                    draws.write(json.dumps(_finite({**d, "number": n})) + "\n")
        draws.seek(0)
        subprocess.run([tool, str(arch)], stdin=draws, stdout=verdicts, check=True)
        verdicts.seek(0)
        out: dict[str, str] = {}
        counts: dict[str, int] = defaultdict(int)
        for line in verdicts:
            v = json.loads(line)
            counts[v["class"]] += 1
            out[v["class"]] = out.get(v["class"]) or v["wrong"]
    return out


def _finite(x: Any) -> Any:
    """Infinities as transformers 5 writes them; JSON has none."""
    if isinstance(x, float) and not math.isfinite(x):
        return {"__float__": {math.inf: "Infinity", -math.inf: "-Infinity"}.get(x, "NaN")}
    if isinstance(x, dict):
        return {k: _finite(v) for k, v in x.items()}
    return [_finite(v) for v in x] if isinstance(x, list) else x


def emit_proven(directory: str, arch: pathlib.Path, only: list[str] | None) -> None:
    work = Work(directory)
    results = work.results()
    auto = classes.auto_classes()
    keep = {n for n, r in results.items() if r["status"] in ("learned", "partly") and r["schema"]}
    scratch = work.root / "prove"
    scratch.mkdir(exist_ok=True)
    emitter = Emitter(results, keep)
    verdicts = prove(emitter.files(), work, [n for n in emitter.units if n in auto], scratch)
    (scratch / "verdicts.json").write_text(json.dumps(verdicts, indent=1, sort_keys=True))
    good = {n for n, wrong in verdicts.items() if not wrong}
    print(f"{len(good)} of {len(verdicts)} classes agree with all draws")
    emitter = Emitter(results, keep, good)
    files = emitter.files()
    if only is not None:
        files = {f"{f}.arch": files[f"{f}.arch"] for f in only}
    write_files(files, arch)
