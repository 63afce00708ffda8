"""A pickled OmegaConf configuration, read as inert records, with its references to itself resolved.

``${a.b}`` is the value at that path; of ``${eval: ...}``, which runs Python, only sums and products of whole numbers
are worked out, here. What else there is stays text.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Mapping
from typing import Any

from .unpickle import Record

MOST, DEEPEST = 20_000, 20  # nodes; references may be shared, so that a small file can describe a large tree
_REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")
_EVAL = re.compile(r"\$\{eval:\s*(.*)\}", re.DOTALL)
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv}


def plain(record: Any) -> dict[str, Any]:
    """A configuration as plain values; ValueError if it is none, or too large."""
    tree = _Reader().read(record, 0)
    if not isinstance(tree, dict):
        raise ValueError("cfg: expected an OmegaConf record")
    return _resolved(tree, tree, 0)


class _Reader:
    def __init__(self) -> None:
        self.nodes = 0

    def read(self, node: Any, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > MOST or depth > DEEPEST:
            raise ValueError("cfg: larger or deeper than a configuration is")
        if isinstance(node, Record):
            if "_content" in node.state:
                return self.read(node.state["_content"], depth + 1)
            return self.read(node.state["_val"], depth + 1) if "_val" in node.state else None
        if isinstance(node, dict):
            return {key: self.read(value, depth + 1) for key, value in node.items() if isinstance(key, str)}
        if isinstance(node, (list, tuple)):
            return [self.read(value, depth + 1) for value in node]
        return node if isinstance(node, (str, int, float)) else None


def _resolved(node: Any, root: Mapping[str, Any], depth: int) -> Any:
    if isinstance(node, dict):
        return {key: _resolved(value, root, depth) for key, value in node.items()}
    if isinstance(node, list):
        return [_resolved(value, root, depth) for value in node]
    if not isinstance(node, str) or depth > DEEPEST or len(node) > 1000:
        return node
    if whole := _REFERENCE.fullmatch(node):
        found = _at(root, whole[1])
        return node if isinstance(found, (dict, list)) else _resolved(found, root, depth + 1)
    if called := _EVAL.fullmatch(node):
        text = _REFERENCE.sub(lambda m: str(_resolved(m[0], root, depth + 1))[:100], called[1])
        return _sum(text.strip().strip("'\""), node)
    return node


def _at(root: Mapping[str, Any], path: str) -> Any:
    node: Any = root
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _sum(text: str, otherwise: str) -> Any:
    """The whole number that a sum or product is; another expression stays what it was."""
    try:
        if len(text) > 200:
            return otherwise
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return otherwise


def _value(node: ast.AST) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int and abs(node.value) < 1 << 32:
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("no sum of whole numbers")
