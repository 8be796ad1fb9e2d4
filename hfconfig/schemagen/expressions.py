"""Expressions over config keys: evaluate them, simplify them, write them as schema files do.

Inside the generator an expression is a string in Python syntax; a name is a config key (dotted for sub-configs), a loop variable
i j k l, or a word of the language.
"""
from __future__ import annotations

import ast
import functools
import math
import re
from typing import Any

LOOPS = "ijklmn"
FUNCTIONS = {"int": int, "len": len, "max": max, "min": min, "ceil": math.ceil, "floor": math.floor, "round": round, "sum": sum, "prod": math.prod, "log2": math.log2, "abs": abs,
             "islist": lambda x: isinstance(x, list)}
_WORDS = {"if", "else", "and", "or", "not", "in", "is", "None", "True", "False"} | set(FUNCTIONS) | set(LOOPS)
_NAME = re.compile(r"'[^']*'|(?<![\w.])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


@functools.lru_cache(200_000)
def compiled(text: str) -> Any:
    def key(m: re.Match) -> str:
        t = m.group(0)
        return t if t[0] == "'" or t in _WORDS else f"K[{t!r}]"

    return compile(_NAME.sub(key, text), text, "eval")


def keys_of(text: str) -> set[str]:
    return {t for t in _NAME.findall(text) if t[0] != "'" and t not in _WORDS}


class Env(dict):
    """Config keys with their values; a key that is absent is null."""

    def __missing__(self, key: str) -> None:
        return None


_GLOBALS = {"__builtins__": {}, **FUNCTIONS}


def evaluate(text: str, env: Env, loop: tuple[int, ...] = ()) -> Any:
    """Computes text; raises whatever Python raises."""
    scope = dict(zip(LOOPS, loop))
    scope["K"] = env
    return eval(compiled(text), _GLOBALS, scope)


def rename(text: str, names: dict[str, str]) -> str:
    """Replaces whole names, dotted ones included."""
    return _NAME.sub(lambda m: names.get(m.group(0), m.group(0)), text)


# ---- simplify

def _const(node: ast.AST) -> Any:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool) else None


class _Simplify(ast.NodeTransformer):
    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        a, b = _const(node.left), _const(node.right)
        op = type(node.op)
        if isinstance(a, int) and isinstance(b, int) and op in (ast.Add, ast.Sub, ast.Mult):
            return ast.Constant({ast.Add: a + b, ast.Sub: a - b, ast.Mult: a * b}[op])
        if op in (ast.Mult, ast.FloorDiv) and b == 1 and isinstance(b, int) or op in (ast.Add, ast.Sub) and b == 0 or op is ast.Pow and b == 1:
            return node.left
        if op is ast.Mult and a == 1 and isinstance(a, int) or op is ast.Add and a == 0:
            return node.right
        if op is ast.Sub and _const(node.right) is None and isinstance(node.right, ast.UnaryOp) and isinstance(node.right.op, ast.USub):
            return ast.BinOp(node.left, ast.Add(), node.right.operand)
        if op is ast.Add and isinstance(b, int) and isinstance(node.left, ast.BinOp) and isinstance(c := _const(node.left.right), int):
            if isinstance(node.left.op, ast.Add):
                return self.visit(ast.BinOp(node.left.left, ast.Add(), ast.Constant(c + b)))
            if isinstance(node.left.op, ast.Sub):
                d = b - c
                return node.left.left if d == 0 else ast.BinOp(node.left.left, ast.Add() if d > 0 else ast.Sub(), ast.Constant(abs(d)))
        if op is ast.Sub and isinstance(b, int) and isinstance(node.left, ast.BinOp) and isinstance(node.left.op, ast.Add) and isinstance(c := _const(node.left.right), int):
            d = c - b
            return node.left.left if d == 0 else ast.BinOp(node.left.left, ast.Add() if d > 0 else ast.Sub(), ast.Constant(abs(d)))
        if op is ast.Add and ast.dump(node.left) == ast.dump(node.right):
            return ast.BinOp(ast.Constant(2), ast.Mult(), node.left)
        if op is ast.Add and isinstance(node.left, ast.BinOp) and isinstance(node.left.op, ast.Mult) and isinstance(_const(node.left.left), int) and ast.dump(node.left.right) == ast.dump(node.right):
            return ast.BinOp(ast.Constant(_const(node.left.left) + 1), ast.Mult(), node.right)
        if op is ast.FloorDiv and isinstance(b, int) and b > 1 and isinstance(node.left, ast.BinOp) and isinstance(node.left.op, ast.Mult):
            for c, rest in ((_const(node.left.left), node.left.right), (_const(node.left.right), node.left.left)):
                if isinstance(c, int) and c % b == 0:
                    return rest if c == b else ast.BinOp(ast.Constant(c // b), ast.Mult(), rest)
        if op is ast.FloorDiv and isinstance(node.left, ast.BinOp) and isinstance(node.left.op, ast.Mult):
            for x, rest in ((node.left.left, node.left.right), (node.left.right, node.left.left)):
                if ast.dump(x) == ast.dump(node.right):
                    return rest
        if op is ast.Mult and isinstance(b, int) and a is None:
            return ast.BinOp(node.right, ast.Mult(), node.left)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in ("max", "min") and len(node.args) == 2 and ast.dump(node.args[0]) == ast.dump(node.args[1]):
            return node.args[0]
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Not):
            x = node.operand
            if isinstance(x, ast.UnaryOp) and isinstance(x.op, ast.Not):
                return x.operand
            flip = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.In: ast.NotIn,
                    ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is}
            if isinstance(x, ast.Compare) and len(x.ops) == 1 and type(x.ops[0]) in flip:
                return ast.Compare(x.left, [flip[type(x.ops[0])]()], x.comparators)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        return node.body if ast.dump(node.body) == ast.dump(node.orelse) else node


@functools.lru_cache(100_000)
def simplify(text: str) -> str:
    """The same value in fewer words, for whole numbers; Python syntax."""
    tree = ast.parse(text, mode="eval").body
    for _ in range(4):
        before = ast.dump(tree)
        tree = _Simplify().visit(tree)
        if ast.dump(tree) == before:
            break
    return ast.unparse(ast.fix_missing_locations(tree))


# ---- the language of the schema files

_PRECEDENCE = {"ifexp": 0, "or": 1, "and": 2, "not": 3, "cmp": 4, "+": 5, "-": 5, "*": 6, "/": 6, "//": 6, "%": 6, "neg": 7, "**": 8, "atom": 9}
_BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**"}
_COMPARE = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.In: "in", ast.NotIn: "not in", ast.Is: "is",
            ast.IsNot: "is not"}


def literal(v: Any) -> str:
    if v is None:
        return "null"
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, str):
        return '"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(v, (list, tuple)):
        return "[" + ", ".join(literal(x) for x in v) + "]"
    return repr(v)


def _write(n: ast.AST) -> tuple[str, int]:
    def under(x: ast.AST, least: int) -> str:
        text, p = _write(x)
        return text if p >= least else f"({text})"

    match n:
        case ast.Constant():
            return literal(n.value), 9
        case ast.Name():
            return n.id, 9
        case ast.Attribute():
            return f"{_write(n.value)[0]}.{n.attr}", 9
        case ast.BinOp():
            op = _BINARY[type(n.op)]
            p = _PRECEDENCE[op]
            if op == "**":
                return f"{under(n.left, 9)} ** {under(n.right, 7)}", p
            return f"{under(n.left, p)} {op} {under(n.right, p + 1)}", p
        case ast.UnaryOp(op=ast.USub()):
            return f"-{under(n.operand, 8)}", 7
        case ast.UnaryOp(op=ast.Not()):
            return f"not {under(n.operand, 3)}", 3
        case ast.BoolOp():
            word = "and" if isinstance(n.op, ast.And) else "or"
            p = _PRECEDENCE[word]
            return f" {word} ".join(under(v, p + (i > 0)) for i, v in enumerate(n.values)), p
        case ast.Compare():
            return f"{under(n.left, 5)} {_COMPARE[type(n.ops[0])]} {under(n.comparators[0], 5)}", 4
        case ast.IfExp():
            return f"{under(n.body, 1)} if {under(n.test, 1)} else {under(n.orelse, 0)}", 0
        case ast.Subscript():
            if isinstance(n.slice, ast.Slice):
                low = _write(n.slice.lower)[0] if n.slice.lower else ""
                high = _write(n.slice.upper)[0] if n.slice.upper else ""
                return f"{under(n.value, 9)}[{low}:{high}]", 9
            return f"{under(n.value, 9)}[{_write(n.slice)[0]}]", 9
        case ast.Call():
            return f"{_write(n.func)[0]}({', '.join(_write(a)[0] for a in n.args)})", 9
        case ast.List() | ast.Tuple():
            return "[" + ", ".join(_write(e)[0] for e in n.elts) + "]", 9
    raise ValueError(f"no such expression in a schema: {ast.dump(n)}")


@functools.lru_cache(100_000)
def schema_text(text: str) -> str:
    """A Python expression as a schema file writes it."""
    return _write(ast.parse(simplify(text), mode="eval").body)[0]
