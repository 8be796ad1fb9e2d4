"""python -m schemagen learn|emit|check|try ...; see README.md."""
from __future__ import annotations

import argparse
import gc
import json
import pathlib
import random
import sys
import time
import warnings
from collections import Counter


def learn(a: argparse.Namespace) -> None:
    warnings.filterwarnings("ignore")
    import torch
    import transformers

    from . import classes, subject
    from .generate import Result, generate
    from .work import Work

    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    subject.install()
    gc.freeze()  # what is imported stays, and models are many small objects: collect seldom
    gc.set_threshold(200_000, 10, 10)
    work = Work(a.work)
    names = a.classes or classes.ordered()
    if a.sample:
        names = random.Random(a.seed).sample(sorted(classes.auto_classes()), a.sample)
    seeds = _seeds(a.seeds)
    if a.part:
        k, n = map(int, a.part.split("/"))
        names = names[k::n]
    queue: list[tuple[str, str | None]] = [(n, None) for n in names]
    seen = set(names)
    counts: Counter[str] = Counter()
    while queue:
        name, module = queue.pop(0)
        if work.done(name) and not a.again:
            res = work.result(name)
        else:
            try:
                made, draws = generate(module or classes.module_of(name), name, a.seconds, lambda _: True, seeds, a.only_draw, a.seed)
            except Exception as e:  # the import wants a package
                made, draws = Result(name, "", reason=f"{type(e).__name__}: {str(e)[:200]}"), []
            work.save(made, draws)
            res = work.result(name)
            print(time.strftime("%H:%M:%S"), name, res["status"], res["samples"], res["seconds"], res["reason"][:150], flush=True)
        counts[res["status"]] += 1
        for row in (res["schema"] or {}).get("rows", []):  # units used that are not in the auto mappings come next
            if row["tag"].startswith("use:"):
                _, unit_module, unit, *_ = row["tag"].split(":")
                if unit not in seen:
                    seen.add(unit)
                    queue.insert(0, (unit, unit_module))
    print(dict(counts))


def emit(a: argparse.Namespace) -> None:
    """Writes schema files of all that was learned; with --prove, only of what then holds."""
    warnings.filterwarnings("ignore")
    from .proof import emit_proven

    emit_proven(a.work, pathlib.Path(a.arch), a.only, pathlib.Path(a.golden) if a.golden else None)


def check(a: argparse.Namespace) -> None:
    """Holds schema files as they stand against the draws of classes."""
    from .proof import check

    check(a.work, pathlib.Path(a.arch), a.classes, pathlib.Path(a.golden) if a.golden else None, a.record)


def hold(a: argparse.Namespace) -> None:
    """Holds schema files as they stand against configs that somebody thought of."""
    warnings.filterwarnings("ignore")
    import transformers

    from . import subject
    from .cases import CASES, hold

    transformers.utils.logging.set_verbosity_error()
    subject.install()
    hold(pathlib.Path(a.arch), pathlib.Path(a.cases or CASES), a.cases is None)


def _seeds(path: str) -> dict[str, list[dict]]:
    """Configs to start from where the default one is unusable: {model type: [config.json]}."""
    return json.loads(pathlib.Path(path).read_text())


def main() -> None:
    p = argparse.ArgumentParser(prog="schemagen", description="Writes hfconfig's schema files by tracing transformers.")
    sub = p.add_subparsers(required=True)
    q = sub.add_parser("learn", help="trace classes into the work directory (resumable)")
    q.add_argument("classes", nargs="*", help="default: all, popular ones of the auto mappings first")
    q.add_argument("--work", default="work")
    q.add_argument("--seconds", type=float, default=12, help="for one class, about")
    q.add_argument("--again", action="store_true", help="also those that are done")
    q.add_argument("--only-draw", action="store_true", help="only make the draws that a file written by hand is held against")
    q.add_argument("--sample", type=int, help="that many classes at random")
    q.add_argument("--part", help="0/2, 1/2: every second class, for processes side by side")
    q.add_argument("--seed", type=int, default=0, help="of --sample, and of the draws of --only-draw")
    q.add_argument("--seeds", default=pathlib.Path(__file__).with_name("seeds.json"), help="JSON file of configs to start from")
    q.set_defaults(run=learn)
    q = sub.add_parser("emit", help="write the schema files of all classes that the Go interpreter proves, and COVERAGE.md")
    q.add_argument("arch", help="directory, hfconfig/arch")
    q.add_argument("--work", default="work")
    q.add_argument("--only", nargs="*", help="files (without .arch) to write; default all")
    q.add_argument("--golden", help="directory of golden entries that must agree as well")
    q.set_defaults(run=emit)
    q = sub.add_parser("check", help="hold the schema files as they stand against the draws of some classes")
    q.add_argument("arch", help="directory, hfconfig/arch")
    q.add_argument("classes", nargs="*", help="default: all that are in the work directory")
    q.add_argument("--work", default="work")
    q.add_argument("--golden", help="directory of golden entries that must agree as well")
    q.add_argument("--record", action="store_true", help="put what is found into COVERAGE.md and testdata/draws.jsonl.gz")
    q.set_defaults(run=check)
    q = sub.add_parser("try", help="hold the schema files as they stand against configs that you thought of")
    q.add_argument("arch", help="directory, hfconfig/arch")
    q.add_argument("cases", nargs="?", help="file of lines [class, config]; default cases.jsonl, of which what agrees becomes testdata/cases.jsonl.gz")
    q.set_defaults(run=hold)
    a = p.parse_args()
    a.run(a)


if __name__ == "__main__":
    main()
