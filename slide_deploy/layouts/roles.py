"""Read what operators on channels-last feature maps do, to decide whether NCHW is possible.

A value is *rows* (batch, H, W, C) or *tokens* (batch, H*W, C). In NCHW layout both are a feature
map (batch, C, H, W). The shape of tokens does not contain H and W. A reshape to or from rows does,
and so does the feature map that the tokens were made from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from slide_deploy.program.movement import is_reshape, is_same, permutation
from slide_deploy.program.traced import (
    Call,
    call,
    is_laid_out,
    reads_memory,
    same_shape,
    same_size,
    same_sizes,
    shape,
)

Size = tuple[int, int]
"""Height and width of a feature map."""

Weights = Mapping[Node, torch.Tensor]
"""Tensors of parameters, buffers and constants, by node."""

TO_ROWS, TO_MAP = (0, 2, 3, 1), (0, 3, 1, 2)

# Operators with one operand that act on each element alone.
_EACH = {
    *("gelu", "relu", "relu6", "silu", "sigmoid", "tanh", "hardswish", "hardsigmoid", "hardtanh"),
    *("leaky_relu", "elu", "selu", "celu", "mish", "softplus", "abs", "neg", "exp", "log", "erf"),
    *("sqrt", "rsqrt", "reciprocal", "square", "clamp", "clamp_min", "clamp_max", "log_sigmoid"),
}
_PAIRED = {"add", "sub", "rsub", "mul", "div", "maximum", "minimum"}
# Kinds of operators that keep height and width.
_OF_ONE_MAP = {"each", "pair", "rows", "norm", "linear"}


@dataclass(frozen=True)
class Role:
    """What an operator does to feature maps.

    Attributes:
        kind: "each", "pair", "rows", "norm", "linear", "slice", "narrow", "cat" or "pad";
            "enter" where an NCHW feature map becomes rows or tokens, "leave" where these become
            an NCHW feature map, "mean" where the positions are averaged.
        data: the operands that are no weights; a reshape between rows and tokens has one.
        call: the operator.
    """

    kind: str
    data: tuple[Node, ...]
    call: Call


def role_of(node: Node, weights: Weights) -> Role | None:
    """Read what an operator does to feature maps; None if it is unknown.

    Args:
        node: an operator.
        weights: tensors of the nodes that are weights.
    """
    found = call(node)
    if found is None or not isinstance(node.meta.get("val"), torch.Tensor):
        return None
    if reads_memory(node) or is_laid_out(node):
        return None
    first = found.arguments.get("self", found.arguments.get("input"))
    if found.name == "cat":
        return _concatenation(found, weights)
    if not isinstance(first, Node) or first in weights:
        return _pair(found, weights) if found.name in _PAIRED else None
    axes = permutation(found)
    if axes is not None:
        return _transpose(found, first, axes)
    if is_reshape(found):
        return _reshape(found, first)
    if found.name in _PAIRED:
        return _pair(found, weights)
    return _single(found, first, weights)


def _single(found: Call, first: Node, weights: Weights) -> Role | None:
    """Read an operator with one operand that is no weight."""
    node, rank = found.node, len(shape(first))
    if rank not in (3, 4):
        return None
    others = [each for each in node.all_input_nodes if each is not first]
    if is_same(found) or found.name in _EACH or _is_power(found):
        return None if others or not _keeps_type(node, first) else Role("each", (first,), found)
    if found.name == "layer_norm":
        (*_, last), normalised = shape(first), found.arguments["normalized_shape"]
        is_last = len(normalised) == 1 and same_size(normalised[0], last)
        fixed = isinstance(shape(first)[-1], int) and all(each in weights for each in others)
        return Role("norm", (first,), found) if is_last and fixed else None
    if found.name == "linear":
        weight = found.arguments["weight"]
        fixed = all(each in weights for each in others) and len(shape(weight)) == 2
        return Role("linear", (first,), found) if fixed else None
    if found.name == "slice" and rank == 4 and not others:
        bounds = (found.arguments[name] for name in ("start", "end", "step"))
        is_inside = int(found.arguments["dim"]) % 4 != 0
        known = all(each is None or isinstance(each, int) for each in bounds)
        return Role("slice", (first,), found) if is_inside and known else None
    if found.name == "narrow" and rank == 4 and not others:
        bounds = (found.arguments[name] for name in ("start", "length"))
        known = all(isinstance(each, int) for each in bounds)
        return Role("narrow", (first,), found) if known and found.arguments["dim"] % 4 else None
    if found.name in ("constant_pad_nd", "pad") and rank == 4 and not others:
        is_constant = found.arguments.get("mode", "constant") == "constant"
        fits = is_constant and len(found.arguments["pad"]) <= 6
        return Role("pad", (first,), found) if fits else None
    if found.name == "mean" and not others and found.arguments.get("keepdim") is False:
        averaged = found.arguments.get("dim") if _keeps_type(node, first) else None
        dims = [] if averaged is None else sorted(int(each) % rank for each in averaged)
        return Role("mean", (first,), found) if dims == list(range(1, rank - 1)) else None
    return None


def _is_power(found: Call) -> bool:
    return found.name == "pow" and isinstance(found.arguments.get("exponent"), int | float)


def _keeps_type(node: Node, first: Node) -> bool:
    return bool(node.meta["val"].dtype == first.meta["val"].dtype)


def _pair(found: Call, weights: Weights) -> Role | None:
    """Read an elementwise operator of two values of one shape, or of a value and a constant."""
    node = found.node
    sides = [found.arguments["self"], found.arguments["other"]]
    data = tuple(each for each in sides if isinstance(each, Node) and each not in weights)
    if found.arguments.get("rounding_mode") is not None or not data:
        return None
    wanted = shape(node)
    if len(wanted) not in (3, 4) or not all(same_shape(each, node) for each in data):
        return None
    for each in sides:
        if (
            isinstance(each, Node)
            and each in weights
            and not _is_supported_constant(shape(each), wanted)
        ):
            return None
    return Role("pair", data, found)


def _is_supported_constant(given: Sequence[Any], wanted: Sequence[Any]) -> bool:
    """Whether a constant is one number, one per channel, or one per position and channel."""
    if len(given) > len(wanted):
        return False
    if all(size == 1 for size in given):
        return True
    (*positions, channels), whole = given, (1, *wanted[1:-1])
    if channels != 1 and not same_size(channels, wanted[-1]):
        return False
    if all(size == 1 for size in positions):
        return True
    return same_sizes(positions, whole) or same_sizes(positions, whole[1:])


def _transpose(found: Call, first: Node, axes: tuple[int, ...]) -> Role | None:
    if axes == TO_ROWS:
        return Role("enter", (first,), found)
    if axes == TO_MAP:
        return Role("leave", (first,), found)
    if axes != (0, 2, 1):
        return None
    source = call(first)
    if source is not None and is_reshape(source):
        maps = source.arguments["self"]
        whole, flat = shape(maps), shape(first)
        is_kept = len(whole) == 4 and same_sizes(whole[:2], flat[:2])
        if is_kept and _is_product(whole[2:], flat[2]):
            return Role("enter", (maps,), found)
    # Back to an NCHW feature map, if every reader reshapes it to one.
    if found.node.users and all(_is_unflattened(user, found.node) for user in found.node.users):
        return Role("leave", (first,), found)
    return None


def _is_unflattened(user: Node, flat: Node) -> bool:
    """Whether a node reshapes (batch, C, H*W) to (batch, C, H, W)."""
    found = call(user)
    if found is None or not is_reshape(found):
        return False
    whole = shape(user)
    is_kept = len(whole) == 4 and same_sizes(whole[:2], shape(flat)[:2])
    return is_kept and _all_known(whole[2:])


def _reshape(found: Call, first: Node) -> Role | None:
    """Read a reshape between rows and tokens, or to the same shape."""
    before, after = shape(first), shape(found.node)
    if same_sizes(before, after) and len(before) in (3, 4):
        return Role("rows", (first,), found)
    if sorted((len(before), len(after))) != [3, 4]:
        return None
    rows, tokens = (before, after) if len(before) == 4 else (after, before)
    same = same_size(rows[0], tokens[0]) and same_size(rows[3], tokens[2])
    return Role("rows", (first,), found) if same and _is_product(rows[1:3], tokens[1]) else None


def _is_product(sizes: Sequence[Any], product: Any) -> bool:
    return _all_known((*sizes, product)) and sizes[0] * sizes[1] == product


def _all_known(sizes: Sequence[Any]) -> bool:
    return all(isinstance(size, int) for size in sizes)


def _concatenation(found: Call, weights: Weights) -> Role | None:
    parts = tuple(found.arguments["tensors"])
    rank = len(shape(found.node))
    axis = int(found.arguments["dim"]) % rank if rank else 0
    if rank not in (3, 4) or any(each in weights for each in parts) or axis == 0:
        return None
    if any(len(shape(each)) != rank for each in parts) or (rank == 3 and axis == 1):
        return None
    return Role("cat", parts, found)


def feature_map_sizes(roles: Mapping[Node, Role]) -> dict[Node, Size]:
    """Find height and width of every feature map as far as they are known.

    Args:
        roles: roles of operators, in the order of the program.
    """
    sizes: dict[Node, Size] = {}
    changed = True
    while changed:
        before = len(sizes)
        for node, role in (*roles.items(), *reversed(list(roles.items()))):
            _infer_sizes(node, role, sizes)
        changed = len(sizes) != before
    return sizes


def _infer_sizes(node: Node, role: Role, sizes: dict[Node, Size]) -> None:
    for each in (node, *role.data):
        whole = shape(each)
        is_rows = len(whole) == 4 and not (role.kind == "leave" and each is node)
        if role.kind == "enter" and each is not node:
            continue
        if is_rows and role.kind != "mean" and _all_known(whole[1:3]):
            sizes.setdefault(each, (int(whole[1]), int(whole[2])))
    if role.kind == "enter":
        height, width = shape(role.data[0])[2:]
        if _all_known((height, width)):
            sizes.setdefault(node, (int(height), int(width)))
    elif role.kind == "leave":
        whole = shape(node) if len(shape(node)) == 4 else shape(next(iter(node.users)))
        if _all_known(whole[2:]):
            sizes.setdefault(role.data[0], (int(whole[2]), int(whole[3])))
    elif role.kind in _OF_ONE_MAP or (role.kind == "cat" and len(shape(node)) == 3):
        known = next((sizes[each] for each in (node, *role.data) if each in sizes), None)
        if known is not None:
            for each in (node, *role.data):
                sizes.setdefault(each, known)


def agreeing(roles: Mapping[Node, Role], sizes: Mapping[Node, Size]) -> dict[Node, Role]:
    """Drop the roles of operators that join feature maps of different sizes.

    An example is a reshape that turns tokens of 4 x 6 positions into rows of 6 x 4.

    Args:
        roles: roles of operators.
        sizes: height and width of feature maps, see ``feature_map_sizes``.
    """
    return {node: role for node, role in roles.items() if len(_met(node, role, sizes)) <= 1}


def _met(node: Node, role: Role, sizes: Mapping[Node, Size]) -> set[tuple[Any, ...]]:
    """The known sizes of all feature maps that have to agree at an operator."""
    values, maps = (node, *role.data), list[Node]()
    if role.kind == "enter":
        values, maps = (node,), [role.data[0]]
    elif role.kind == "leave":
        values, maps = role.data, [node] if len(shape(node)) == 4 else list(node.users)
    elif role.kind not in _OF_ONE_MAP and not (role.kind == "cat" and len(shape(node)) == 3):
        return set()
    given = (shape(each)[2:] for each in maps)
    return {sizes[each] for each in values if each in sizes} | {
        size for size in given if _all_known(size)
    }
