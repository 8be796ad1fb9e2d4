"""The directory of schema files: what people wrote there stays."""
from __future__ import annotations

import pathlib

BY_HAND = "  by hand:"


Key = tuple[str, str]  # model type, first words of the part


def sections(text: str) -> list[tuple[Key, list[str]]]:
    """The parts of a file that start at unindented lines, with their lines."""
    out: list[tuple[Key, list[str]]] = []
    model = ""
    for line in text.splitlines():
        if line and line[0] not in " #":
            words = line.replace("(", " ").split()
            model = words[1] if words[0] == "model" else model
            out.append(((model, " ".join(words[:2] if words[0] in ("block", "class", "model") else words)), []))
        if out:
            out[-1][1].append(line)
    return out


def by_hand(lines: list[str]) -> list[str]:
    """The lines of a part under `by hand:`, that line included."""
    out, inside = [], False
    for line in lines:
        if line == BY_HAND:
            inside = True
        elif line and not line.startswith("   "):
            inside = False
        if inside and line:
            out.append(line)
    return out


def merged(new: str, old: str) -> str:
    """New text with what old says by hand, in the same parts; a part that is no longer generated keeps its first line and that."""
    kept = {key: (lines[0], hand) for key, lines in sections(old) if (hand := by_hand(lines))}
    out: list[tuple[Key, list[str]]] = []
    for key, lines in sections(new):
        end = max(n for n, x in enumerate(lines) if x) + 1
        out.append((key, lines[:end] + kept.pop(key, ("", []))[1] + lines[end:]))
    for key, (head, hand) in kept.items():
        places = [n for n, ((model, _), _) in enumerate(out) if model == key[0]]
        if places:
            out[places[-1]][1].append("")
            out.insert(places[-1] + 1, (key, [head, *hand]))
        else:
            out.append((key, ["", f"model {key[0]}", "", head, *hand]))
    return "\n".join(line for _, lines in out for line in lines).rstrip("\n") + "\n"


def write(files: dict[str, str], directory: pathlib.Path, all_of_them: bool) -> None:
    """Writes what changed. Files without a `generated` line stay as they are, and so do the parts of others that are marked by hand.
    If these are all files, generated ones that are not among them go."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = directory / name
        old = path.read_text() if path.exists() else ""
        if old and not old.startswith("generated "):
            continue
        text = merged(text, old)
        if text != old:
            path.write_text(text)
    for path in directory.glob("*.arch") if all_of_them else ():
        old = path.read_text()
        if path.name not in files and old.startswith("generated "):
            if any(by_hand(lines) for _, lines in sections(old)):
                print(f"{path.name} is no longer generated, but holds lines by hand: look at it")
            else:
                path.unlink()
