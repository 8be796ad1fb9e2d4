"""Holds schema files against the draws, with the Go interpreter, and keeps what agrees."""
from __future__ import annotations

import gzip
import json
import math
import pathlib
import re
import subprocess
import tempfile
from typing import Any, Iterable, Iterator

from . import classes, coverage
from .coverage import stuck
from .emit import Emitter
from .files import write
from .sample import finite, sample, updated
from .work import Work

_MODULE = pathlib.Path(__file__).resolve().parents[2]


def prove(files: dict[str, str], draws: Iterable[dict], scratch: pathlib.Path) -> dict[str, str]:
    """{class: what is wrong, "" if nothing} for all draws of the classes."""
    out: dict[str, str] = {}
    for v in verdicts(files, draws, scratch):
        out[v["class"]] = out.get(v["class"]) or v["wrong"]
    return out


def verdicts(files: dict[str, str], draws: Iterable[dict], scratch: pathlib.Path) -> Iterator[dict]:
    """What prove/ says of each draw: class, number, and what is wrong."""
    arch = scratch / "arch"
    arch.mkdir(exist_ok=True)
    for old in arch.glob("*.arch"):
        old.unlink()
    for name, text in files.items():
        (arch / name).write_text(text)
    tool = scratch / "prove"
    subprocess.run(["go", "build", "-o", tool, "./hfconfig/schemagen/prove"], cwd=_MODULE, check=True)
    with tempfile.TemporaryFile("w+") as lines, tempfile.TemporaryFile("w+") as answers:
        for d in draws:
            lines.write(json.dumps(finite(d)) + "\n")
        lines.seek(0)
        subprocess.run([tool, str(arch)], stdin=lines, stdout=answers, check=True)
        answers.seek(0)
        yield from map(json.loads, answers)


def check(directory: str, arch: pathlib.Path, names: list[str], golden: pathlib.Path | None, record: bool) -> None:
    """Prints what the files in arch say otherwise than the draws of the classes, and which keys the draws did not vary.

    With record, COVERAGE.md and the committed draws take what is found of these classes; of others they stay as they are.
    """
    work = Work(directory)
    scratch = work.root / "prove"
    scratch.mkdir(exist_ok=True)
    files = {p.name: p.read_text() for p in arch.glob("*.arch")}
    results = {n: work.result(n) for n in names or work.results()}
    reasons = {n: r["reason"] for n, r in results.items()}
    for v in verdicts(files, _draws(work, [n for n in results if not reasons[n]]), scratch):
        print(f"{v['class']} {v['number']}: {v['wrong'] or 'agrees'}")
        reasons[v["class"]] = reasons[v["class"]] or v["wrong"]
    for n, r in results.items():
        if not reasons[n] and (fixed := stuck(r["frozen"])):
            reasons[n] = "never varied: " + ", ".join(fixed)
    if golden is not None:
        reasons |= {n: w for n, w in _refuted(files, golden, scratch).items() if n in reasons}
    for n, reason in reasons.items():
        print(f"{n}: {reason or 'proven'}")
    if record:
        page = arch.parent / "COVERAGE.md"
        page.write_text(coverage.write(classes.auto_classes(), classes.further_classes(), coverage.read(page.read_text()).updated(results, reasons), _described(files)))
        draws = arch.parent / "testdata" / "draws.jsonl.gz"
        draws.write_bytes(updated(draws.read_bytes(), work, {n: not reason for n, reason in reasons.items()}))


def _described(files: dict[str, str]) -> dict[str, str]:
    """{model type: file} of the files written by hand."""
    return {t: name for name, text in files.items() if not text.startswith("generated ") for line in text.splitlines() if line.startswith("model ")
            for t in re.findall(r"[\w-]+", line[6:].split(" prefix")[0])}


def _draws(work: Work, names: list[str]) -> Iterator[dict]:
    return ({**d, "number": n} for name in names for n, d in enumerate(work.draws(name)) if not d["arguments"])


def _refuted(files: dict[str, str], golden: pathlib.Path, scratch: pathlib.Path) -> dict[str, str]:
    """Classes that a golden entry speaks against."""
    draws = []
    for path in sorted(golden.glob("*.json.gz")):
        g = json.loads(gzip.decompress(path.read_bytes()))
        published = g.get("config_published")
        if published is None or "means" in " ".join(g["notes"]):  # a key that meant something else when the file was published
            published = g["config"]
        draws.append({"class": g["class"], "number": 0, "raw": published, "written": g["config"], "native": g.get("tensors_native", g["tensors"]),
                      "save": g["tensors"], "ties": {dropped: group[0] for group in g["tied"] for dropped in group[1:]}})
    wrong = {n: w for n, w in prove(files, draws, scratch).items() if w and "no schema describes" not in w and "not described" not in w and "is not known" not in w}
    return {n: f"a golden entry: {w}" for n, w in wrong.items()}


def _held_back(golden: pathlib.Path, types: dict[str, str], described: Iterable[str]) -> dict[str, str]:
    """Proven classes of a model type of which a golden entry's class is not: a type that is known must not fail where it is tried first."""
    lacking: dict[str, str] = {}
    for path in sorted(golden.glob("*.json.gz")):
        g = json.loads(gzip.decompress(path.read_bytes()))
        if g["class"] not in types and g["model_type"] not in described:
            lacking[g["model_type"]] = g["class"]
    return {n: f"held back until {lacking[t]} of the same model type is proven" for n, t in types.items() if t in lacking}


def emit_proven(directory: str, arch: pathlib.Path, only: list[str] | None, golden: pathlib.Path | None) -> None:
    """Writes the files of the classes that hold, and COVERAGE.md and testdata/draws.jsonl.gz beside their directory.

    A class must agree with all its draws beside the files written by hand, which win, and among all that do so.
    """
    work = Work(directory)
    results = work.results()
    scratch = work.root / "prove"
    scratch.mkdir(exist_ok=True)
    reasons = {n: _reason(r) for n, r in results.items()}
    keep = {n for n, r in results.items() if r["status"] in ("learned", "partly") and r["schema"]}
    hand = {p.name: p.read_text() for p in arch.glob("*.arch") if not p.read_text().startswith("generated ")}
    described = _described(hand)
    emitter = Emitter(results, keep, None, described)
    candidates = {n for n in emitter.units if n in emitter.saved} | {n for n, r in results.items() if r["status"] == "drawn" and r["model_type"] in described}
    found = prove(hand | emitter.files(), _draws(work, sorted(candidates)), scratch)
    (scratch / "verdicts.json").write_text(json.dumps(found, indent=1, sort_keys=True))
    for n, wrong in found.items():
        reasons[n] = wrong or ("never varied: " + ", ".join(fixed) if (fixed := stuck(results[n]["frozen"])) else "")
    reasons |= emitter.dropped
    good = {n for n in found if not reasons[n]}
    print(f"{sum(not w for w in found.values())} of {len(found)} classes agree with all draws, {len(good)} of them with no key left unvaried")

    for _ in range(8):  # what falls may be used by others
        files = hand | Emitter(results, keep, good, described).files()
        again = prove(files, _draws(work, sorted(n for n in good)), scratch)
        wrong = {n: w for n, w in again.items() if w}
        if golden is not None:
            wrong |= _refuted(files, golden, scratch)
        wrong = {n: w for n, w in wrong.items() if n in good}
        if golden is not None and not wrong:
            wrong = _held_back(golden, {n: results[n]["model_type"] for n in good}, described)
        if not wrong:
            break
        for n, w in sorted(wrong.items()):
            print(f"  {n}: {w[:200]}")
            reasons[n] = w
        good -= wrong.keys()
    files = Emitter(results, keep, good, described).files()
    print(f"{len(good)} classes proven; {len(files)} files, {sum(map(len, files.values()))} bytes, {len(gzip.compress(''.join(files.values()).encode()))} compressed")
    (arch.parent / "COVERAGE.md").write_text(coverage.write(classes.auto_classes(), classes.further_classes(), coverage.Known().updated(results, reasons), described))
    if only is not None:
        files = {f"{f}.arch": files[f"{f}.arch"] for f in only}
    write(files, arch, only is None)
    draws = arch.parent / "testdata" / "draws.jsonl.gz"
    draws.parent.mkdir(exist_ok=True)
    draws.write_bytes(sample(work, good))
    print(f"next: go generate ./hfconfig, which embeds {arch}")


def _reason(r: dict) -> str:
    return r["reason"] if r["status"] == "failed" else r["reason"] or "learned only in part"
