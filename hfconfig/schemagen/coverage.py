"""COVERAGE.md: every class as proven, partly or not, with the reason."""
from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from typing import Any

# Keys that no tensor depends on, by what their names say. A key that is not among them and took one value in all draws spoils a proof.
HARMLESS = re.compile(
    r"dropout|drop_|_drop|drop$|eps|coef|std|range|loss|temperature|theta|(?<!mask_time_)(?<!mask_feature_)prob|pdrop|weight|threshold|momentum|_act$|activation|noise|alpha|limit|_id$|jitter|(?<!layer_)(?<!layer)scal|"
    r"time_step|suppress_tokens|init_device|fraction|summary_type|padding|softcap|pooling$|topk_method")


def stuck(frozen: list[str]) -> list[str]:
    """Of the keys that took one value those that may reach a shape."""
    return [k for k in frozen if not HARMLESS.search(k.rsplit(".", 1)[-1])]


@dataclasses.dataclass
class Known:
    """What COVERAGE.md says: of each class that was looked at "" if it is proven, else the reason; and how many draws that took."""

    reasons: dict[str, str] = dataclasses.field(default_factory=dict)
    drawn: int = 0
    rejected: int = 0

    def updated(self, results: dict[str, dict], reasons: dict[str, str]) -> Known:
        return Known(self.reasons | reasons, self.drawn + sum(r["drawn"] for r in results.values()), self.rejected + sum(r["rejected"] for r in results.values()))


def read(page: str) -> Known:
    """What a page that write wrote says."""
    rejected, drawn = map(int, re.search(r"refused (\d+) of (\d+) draws", page).groups())
    proven = re.findall(r"\w+", " ".join(re.findall(r"^(?:- \*\*.*?: |Of \d+ classes .*?: )(.*)$", page, re.M)))
    return Known(dict(re.findall(r"^ *- (\w+): (.*)$", page, re.M)) | dict.fromkeys(proven, ""), drawn, rejected)


def write(auto: dict[str, list[str]], further: dict[str, list[str]], known: Known, described: dict[str, str]) -> str:
    """described: model type -> file written by hand."""
    reasons = known.reasons
    by_type: dict[str, list[str]] = defaultdict(list)
    for name, types in auto.items():
        for t in types:
            by_type[t].append(name)
    proven = {n for n in auto if reasons.get(n) == ""}
    some = sum(any(n in proven for n in names) for names in by_type.values())
    every = sum(all(n in proven for n in names) for names in by_type.values())
    out = [f"{len(proven)} of {len(auto)} classes proven, {some} of {len(by_type)} model types", "",
           "# What is known of transformers 5.23.0",
           "Written by `python -m schemagen emit`. A class is proven if the schema and transformers agree in names, shapes and ties, native and",
           "as saved, on six to ten fresh random configs that were built without symbols, from the raw keys and from the config.json that the model",
           "writes; if no key that can reach a shape kept one value in all draws; and if no golden entry speaks against it. A model type counts",
           f"if one of its classes is proven; of {every} all are. The others answer that they are not known, rather than guess.",
           f"The constructors refused {known.rejected} of {known.drawn} draws ({100 * known.rejected / max(1, known.drawn):.0f} %); a refused draw was mended key by key.", ""]
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
