"""Rows as indented text: loops and common paths become headers, equal neighbours one line, shared conditions one if."""
from __future__ import annotations

import dataclasses
import re

from .expressions import schema_text
from .names import resolved, split_pair
from .schema import mentions

_WORDS = {"for", "if", "else", "optional", "layout", "let", "use", "tie", "by", "allow"}


@dataclasses.dataclass
class Line:
    """One statement: what follows the path is `text`; paths are lists of dotted parts."""
    native: list[str]
    save: list[str]
    loops: list[tuple[str, int, str]]
    condition: str
    text: str
    tie: tuple[str, str] | None = None


def paths(name: str) -> tuple[str, str, str]:
    """Native name, sign and the name behind it, with references resolved."""
    left, sign, right = split_pair(resolved(name))
    return left, sign, right if sign else left


def split(path: str) -> list[str]:
    return path.split(".") if path else []


def write(lines: list[Line], indent: int = 2) -> list[str]:
    out: list[str] = []
    _body(lines, 0, out, indent)
    return out


def _body(lines: list[Line], depth: int, out: list[str], indent: int) -> None:
    n = 0
    while n < len(lines):
        line = lines[n]
        if len(line.loops) > depth:
            same = (line.loops[depth], _through(line, depth), _above(line, depth))
            group = [x for x in lines[n:] if len(x.loops) > depth and (x.loops[depth], _through(x, depth), _above(x, depth)) == same]
            rest = [x for x in lines[n:] if not any(x is y for y in group)]
            _loop(group, depth, out, indent)
            lines, n = rest, 0
            continue
        lines_here = [x for x in lines[n:] if len(x.loops) <= depth]
        later = [x for x in lines[n:] if len(x.loops) > depth]
        # keep the order of first appearance: plain lines up to the next loop
        cut = next((i for i, x in enumerate(lines[n:]) if len(x.loops) > depth), len(lines) - n)
        _plain(lines[n:n + cut], out, indent)
        lines, n = lines[n + cut:], 0
        del lines_here, later


def _through(line: Line, depth: int) -> tuple | None:
    """The paths up to the part that holds the loop's variable."""
    if line.tie:
        return ()
    var = "{" + line.loops[depth][0] + "}"
    ends = []
    for parts in (line.native, line.save):
        at = next((i for i, p in enumerate(parts) if var in p), None)
        if at is None:
            return ()
        ends.append(tuple(parts[: at + 1]))
    return tuple(ends)


def _above(line: Line, depth: int) -> str:
    """The condition that stands above an inner loop: its count may have no value otherwise."""
    return line.condition if depth and line.condition != "True" and not mentions(line.condition, "".join(v for v, _, _ in line.loops[depth:])) else "True"


def _condition(text: str) -> str:
    """As it stands in a header, where an if of its own would be taken for another."""
    text = schema_text(text)
    return f"({text})" if " if " in text else text


def _loop(group: list[Line], depth: int, out: list[str], indent: int) -> None:
    var, start, end = group[0].loops[depth]
    end = schema_text(end)
    head = f"for {var} < {end}:" if start == 0 else f"for {start} <= {var} < {end}:"
    if (above := _above(group[0], depth)) != "True":
        head = f"if {_condition(above)}: {head}"
        group = [dataclasses.replace(x, condition="True") for x in group]
    through = _through(group[0], depth)
    if through and all(len(x.native) > len(through[0]) and len(x.save) > len(through[1]) for x in group):
        head += f" {_path(list(through[0]), list(through[1]))}:"
        group = [dataclasses.replace(x, native=x.native[len(through[0]):], save=x.save[len(through[1]):]) for x in group]
    body: list[str] = []
    _body(group, depth + 1, body, indent + 2)
    if len(body) == 1:
        out.append(" " * indent + head + " " + body[0].strip())
    else:
        out.append(" " * indent + head)
        out += body


def _plain(lines: list[Line], out: list[str], indent: int) -> None:
    """Lines without further loops."""
    n = 0
    while n < len(lines):
        line = lines[n]
        same = n + 1
        while same < len(lines) and lines[same].condition == line.condition and line.condition != "True":
            same += 1
        if same - n > 1:
            out.append(f"{' ' * indent}if {_condition(line.condition)}:")
            _grouped([dataclasses.replace(x, condition="True") for x in lines[n:same]], out, indent + 2)
            n = same
            continue
        same = n + 1
        while same < len(lines) and lines[same].condition == "True" == line.condition:
            same += 1
        _grouped(lines[n:same], out, indent)
        n = same


def _grouped(lines: list[Line], out: list[str], indent: int) -> None:
    """Lines of one condition: common first parts become headers."""
    n = 0
    while n < len(lines):
        line = lines[n]
        same = n + 1
        if len(line.native) > 1 and not line.tie and line.native[0] == line.save[:1][0] if line.save else False:
            while same < len(lines) and not lines[same].tie and len(lines[same].native) > 1 and lines[same].native[0] == line.native[0] and lines[same].save[:1] == [line.native[0]] and len(lines[same].save) > 1:
                same += 1
        if same - n > 2 and len(line.save) > 1:
            out.append(f"{' ' * indent}{_name([line.native[0]])}:")
            _grouped([dataclasses.replace(x, native=x.native[1:], save=x.save[1:]) for x in lines[n:same]], out, indent + 2)
            n = same
            continue
        if line.tie:
            tail = "" if line.condition == "True" else f" if {schema_text(line.condition)}"
            out.append(f"{' ' * indent}tie {line.tie[0]} = {line.tie[1]}{tail}")
        elif line.text.startswith("use "):
            head = f"{' ' * indent}" + ("" if line.condition == "True" else f"if {_condition(line.condition)}: ")
            path = _path(line.native, line.save)
            out.append(head + (f"{path}: " if path != "." else "") + line.text)
        else:
            same = n + 1
            while same < len(lines) and lines[same].text == line.text and lines[same].condition == line.condition and not lines[same].tie:
                same += 1
            names = ", ".join(_path(x.native, x.save) for x in lines[n:same])
            tail = "" if line.condition == "True" else f" if {schema_text(line.condition)}"
            out.append(f"{' ' * indent}{names} {line.text}{tail}")
            n = same
            continue
        n += 1


def _path(native: list[str], save: list[str]) -> str:
    a, b = _name(native), _name(save)
    return a if a == b else f"{a} | save {b}"


def _name(parts: list[str]) -> str:
    if not parts:
        return "."
    text = ".".join(parts)
    if parts[0] in _WORDS and "{" not in text or not re.fullmatch(r"[\w.{}-]+", text):
        return f'"{text}"'
    return text
