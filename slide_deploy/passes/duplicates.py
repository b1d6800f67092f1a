"""Remove operators that change nothing, and compute equal operators once.

    x + 0, x - 0, x * 1, x / 1                       x, if type and shape stay the same
    copies, casts to the same type, dropout          x
    slices of a whole axis, padding of width zero    x
    f(x, y) and f(x, y)                              one operator, if it draws no random numbers

An output of the network keeps an operator of its own, because some formats cannot give one value
two names.
"""

import operator
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from slide_deploy.passes.report import PassReport
from slide_deploy.program.constants import is_random
from slide_deploy.program.editing import Editor
from slide_deploy.program.movement import is_reshape, is_same, permutation
from slide_deploy.program.traced import Call, call, layer_of, same_type

_NEUTRAL = {"add": 0, "sub": 0, "mul": 1, "div": 1}


def rewrite(editor: Editor, report: PassReport) -> None:
    """Remove operators that change nothing and operators that repeat another."""
    known: dict[Hashable, Node] = {}
    for node in list(editor.program.graph.nodes):
        if node._erased or node.op != "call_function" or editor.is_output(node):
            continue
        source = _source(editor, node)
        if source is not None:
            report.change(layer_of(node), f"{_name(node)} changes nothing and was removed")
            editor.replace(node, source)
            editor.drop(node)
            continue
        key = None if node.is_impure() else _key(node)
        if key is None:
            continue
        first = known.setdefault(key, node)
        if first is not node:
            if isinstance(node.meta.get("val"), Tensor) and node.all_input_nodes:
                report.change(layer_of(node), f"{_name(node)} is computed once")
            editor.replace(node, first)


def _name(node: Node) -> str:
    return str(getattr(node.target, "__name__", node.target)).partition(".")[0]


def _source(editor: Editor, node: Node) -> Node | None:
    """The operand that an operator returns unchanged; None if it computes a new value."""
    found = call(node)
    if found is None:
        return None
    source = node.args[0] if node.args else None
    if isinstance(source, (list, tuple)) and len(source) == 1 and found.name in ("cat", "concat"):
        source = source[0]
        return source if isinstance(source, Node) else None
    if not isinstance(source, Node) or not isinstance(source.meta.get("val"), Tensor):
        return _scaled_other(editor, found)
    if is_same(found):
        return source
    if not same_type(source, node):
        return _scaled_other(editor, found)
    if is_reshape(found):
        return source
    order = permutation(found)
    if order is not None:
        return source if order == tuple(range(len(order))) else None
    if found.name in ("slice", "narrow") and found.arguments.get("step", 1) == 1:
        return source
    if found.name in ("constant_pad_nd", "pad"):
        return source if not any(found.arguments["pad"]) else None
    if found.name in _NEUTRAL and _is_neutral(editor, found, found.arguments["other"]):
        return source
    return _scaled_other(editor, found)


def _scaled_other(editor: Editor, found: Call) -> Node | None:
    """The second operand of 0 + x or 1 * x; None for any other operator."""
    other = found.arguments.get("other")
    if found.name not in ("add", "mul") or not isinstance(other, Node):
        return None
    if found.arguments.get("alpha", 1) != 1 or not same_type(other, found.node):
        return None
    return other if _is_neutral(editor, found, found.arguments["self"]) else None


def _is_neutral(editor: Editor, found: Call, operand: object) -> bool:
    """Whether an operand is the neutral element of the operator, 0 or 1, in every position."""
    if found.arguments.get("rounding_mode") is not None:
        return False
    neutral = _NEUTRAL[found.name]
    if isinstance(operand, (int, float)):
        return operand == neutral
    held = editor.weight(operand)
    return held is not None and bool((held == neutral).all())


def _key(node: Node) -> Hashable | None:
    """A key that is equal for operators that compute the same; None if the node must stay."""
    if isinstance(node.target, torch._ops.OpOverload):
        if is_random(node) or node.target._schema.is_mutable:
            return None
    elif node.target is not operator.getitem and not isinstance(
        node.meta.get("val"), (int, torch.SymInt)
    ):
        return None
    try:
        key = (node.target, _frozen(node.args), _frozen(dict(node.kwargs)))
        hash(key)
    except TypeError:
        return None
    return key


def _frozen(given: Any) -> Hashable:
    """Arguments as a hashable key; equal numbers of different types give different keys."""
    if isinstance(given, (list, tuple)):
        return ("row", *map(_frozen, given))
    if isinstance(given, dict):
        return ("named", *((name, _frozen(value)) for name, value in sorted(given.items())))
    if isinstance(given, float):
        return ("float", given.hex())
    return given if isinstance(given, Node) else (type(given).__name__, given)
