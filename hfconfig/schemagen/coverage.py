"""COVERAGE.md: every class as proven, partly or not, with the reason."""
from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

# Keys that no tensor depends on, by what their names say. A key that is not among them and took one value in all draws spoils a proof.
HARMLESS = re.compile(
    r"dropout|drop_|_drop|drop$|eps|coef|std|range|loss|temperature|theta|prob|pdrop|weight|threshold|momentum|_act$|activation|noise|alpha|limit|_id$|jitter|scal|"
    r"time_step|suppress_tokens|init_device|fraction|summary_type|padding|softcap|pooling$|topk_method")


def stuck(frozen: list[str]) -> list[str]:
    """Of the keys that took one value those that may reach a shape."""
    return [k for k in frozen if not HARMLESS.search(k.rsplit(".", 1)[-1])]


def write(auto: dict[str, list[str]], further: dict[str, list[str]], results: dict[str, dict], reasons: dict[str, str], described: dict[str, str]) -> str:
    """reasons: of each class that was looked at, "" if it is proven; described: model type -> file written by hand."""
    by_type: dict[str, list[str]] = defaultdict(list)
    for name, types in auto.items():
        for t in types:
            by_type[t].append(name)
    proven = {n for n in auto if reasons.get(n) == ""}
    some = sum(any(n in proven for n in names) for names in by_type.values())
    every = sum(all(n in proven for n in names) for names in by_type.values())
    drawn = sum(r["drawn"] for r in results.values())
    rejected = sum(r["rejected"] for r in results.values())
    out = [f"{len(proven)} of {len(auto)} classes proven, {some} of {len(by_type)} model types", "",
           "# What is known of transformers 5.23.0",
           "Written by `python -m schemagen emit`. A class is proven if the schema and transformers agree in names, shapes and ties, native and",
           "as saved, on six to ten fresh random configs that were built without symbols, from the raw keys and from the config.json that the model",
           "writes; if no key that can reach a shape kept one value in all draws; and if no golden entry speaks against it. A model type counts",
           f"if one of its classes is proven; of {every} all are. The others answer that they are not known, rather than guess.",
           f"The constructors refused {rejected} of {drawn} draws ({100 * rejected / max(1, drawn):.0f} %); a refused draw was mended key by key.", ""]
    for t in sorted(by_type):
        names = sorted(by_type[t])
        good = [n for n in names if n in proven]
        out.append(f"- **{t}**" + (" (by hand)" if t in described else "") + (": " + ", ".join(good) if good else ""))
        for n in names:
            if n not in proven:
                out.append(f"  - {n}: {_short(reasons.get(n, 'not looked at yet'))}")
    good = [n for n in sorted(further) if reasons.get(n) == ""]
    out += ["", f"Of {len(further)} classes that no auto class loads {len(good)} are proven as well: {', '.join(good)}."]
    out += [f"- {n}: {_short(reasons.get(n, 'not looked at yet'))}" for n in sorted(further) if n not in good]
    return "\n".join(out) + "\n"


def _short(reason: str) -> str:
    return " ".join(reason.split())[:160].replace("|", "\\|")
