"""What a null key stands for, said once: where every `a if k is None else b` agrees on what k would have to be, k is derived."""
from __future__ import annotations

import ast
from typing import Any

from .expressions import simplify


def tidy(schema: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Changes a learned schema in place."""
    keys = {k for k in defaults if "." not in k and k not in schema["derived"]}
    for k in sorted(keys):
        values = [(row["values"], a) for row in schema["rows"] for a in row["values"] if k in row["values"][a]]
        conditions = [row["condition"] for row in schema["rows"] if _mentions(row["condition"], k)]
        ends = [end for row in schema["rows"] for _, _, end in row["loops"] if _mentions(end, k)]
        others = [e for d in schema["derived"].values() for e in d if e and _mentions(e, k)]
        if conditions or ends or others:
            continue
        found: set[str] = set()
        new = []
        for holder, a in values:
            tree = ast.parse(simplify(holder[a]), mode="eval").body
            if not _mentions(holder[a], k):
                continue
            out = _Join(k, found).visit(tree)
            if _tests_null(out, k):
                break
            new.append((holder, a, ast.unparse(out)))
        else:
            if len(found) == 1:
                for holder, a, text in new:
                    holder[a] = text
                schema["derived"][k] = [None, found.pop()]


def _mentions(text: str, key: str) -> bool:
    return key in text and any(isinstance(n, ast.Name) and n.id == key for n in ast.walk(ast.parse(text, mode="eval")))


def _tests_null(tree: ast.AST, key: str) -> bool:
    return any(isinstance(n, ast.Compare) and isinstance(n.left, ast.Name) and n.left.id == key and isinstance(n.ops[0], (ast.Is, ast.IsNot)) for n in ast.walk(tree))


class _Join(ast.NodeTransformer):
    def __init__(self, key: str, found: set[str]) -> None:
        self.key, self.found = key, found

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        t = node.test
        if isinstance(t, ast.Compare) and isinstance(t.left, ast.Name) and t.left.id == self.key and isinstance(t.ops[0], (ast.Is, ast.IsNot)):
            null, given = (node.body, node.orelse) if isinstance(t.ops[0], ast.Is) else (node.orelse, node.body)
            stands: set[str] = set()
            if _unify(given, null, self.key, stands) and len(stands) == 1:
                self.found |= stands
                return given
        return node


def _unify(given: ast.AST, null: ast.AST, key: str, stands: set[str]) -> bool:
    """Whether null is given with key replaced; what replaces it is put into stands."""
    if isinstance(given, ast.Name) and given.id == key:
        text = ast.unparse(null)
        stands.add(text)
        return not _mentions(text, key)
    if type(given) is not type(null):
        return False
    if isinstance(given, ast.Name):
        return given.id == null.id
    if isinstance(given, ast.Constant):
        return given.value == null.value
    a, b = list(ast.iter_child_nodes(given)), list(ast.iter_child_nodes(null))
    return len(a) == len(b) > 0 and all(_unify(x, y, key, stands) for x, y in zip(a, b)) or not a and not b
