"""Configs that somebody thought of, because random draws miss them: published ones, special values, branches that nobody takes by chance."""
from __future__ import annotations

import copy
import json
import pathlib
import tempfile
from typing import Any

from . import classes
from .proof import verdicts
from .sample import line, packed
from .subject import saved

CASES = pathlib.Path(__file__).with_name("cases.jsonl")  # one [class, config] a line


def hold(arch: pathlib.Path, path: pathlib.Path, record: bool) -> None:
    """Prints what the files in arch say otherwise than transformers. With record, what agrees becomes testdata/cases.jsonl.gz."""
    draws = []
    for n, text in enumerate(path.read_text().splitlines()):
        name, config = json.loads(text)
        try:
            draws.append(_draw(name, config, n))
        except Exception as e:
            print(f"{name} {n}: transformers refuses it: {type(e).__name__}: {str(e)[:150]}")
    good = []
    with tempfile.TemporaryDirectory() as scratch:
        for d, v in zip(draws, verdicts({p.name: p.read_text() for p in arch.glob("*.arch")}, draws, pathlib.Path(scratch)), strict=True):
            print(f"{v['class']} {v['number']}: {v['wrong'] or 'agrees'}")
            if not v["wrong"]:
                good += [line(d, "raw")]
    if record:
        (arch.parent / "testdata" / "cases.jsonl.gz").write_bytes(packed(good))


def _draw(name: str, config: dict[str, Any], number: int) -> dict[str, Any]:
    cls = classes.load(classes.module_of(name), name)
    config = {"model_type": cls.config_class.model_type, **config}
    seen, written = saved(cls, cls.config_class.from_dict(copy.deepcopy(config)), {})
    return {"class": name, "number": number, "raw": config, "written": written, "native": seen.native, "save": seen.save, "ties": seen.ties}
