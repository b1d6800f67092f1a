"""Merge constants that are added one after the other.

    (x + a) + b = x + (a + b)
    ((x + bias) as (B, W, h, n, n)) + mask = (x as (B, W h, n, n)) + constant (1, W h, n, n)

Reshapes may stand between the two additions, for example the one that gives windows their own axis.
Both constants are then broadcast to the pieces of axes along which either of them varies, and
neighbouring axes are joined until four are left. The sum is computed in float64. It replaces both
constants, unless it is larger than they are together by more than ``MAX_GROWTH``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, ops
from torch.fx import Node

from slide_deploy.passes.constants import MAX_GROWTH
from slide_deploy.passes.report import PassReport
from slide_deploy.program.arrangement import Arrangement, Pieces, Size
from slide_deploy.program.editing import Editor
from slide_deploy.program.movement import is_reshape, is_same, moved, reshape, reshape_sizes
from slide_deploy.program.traced import Call, call, layer_of, same_type, shape

aten = ops.aten
_RANK = 4


@dataclass(frozen=True)
class _Sum:
    """An addition of a constant to a value.

    Attributes:
        node: the addition.
        value: the operand that is no constant; it has the shape of the result.
        constant: float64, negated for a subtraction, with as many axes as the value.
    """

    node: Node
    value: Node
    constant: Tensor

    @property
    def size(self) -> int:
        """Bytes per element."""
        return int(self.node.meta["val"].element_size())


def rewrite(editor: Editor, report: PassReport) -> None:
    """Merge successive additions of constants."""
    for found in editor.calls("add", "sub"):
        last = _sum(editor, found)
        if last is None:
            continue
        first, held = _before(editor, last)
        if first is None or held is None:
            continue
        total, axes = _total(first, last, held)
        grown = total.numel() - first.constant.numel() - last.constant.numel()
        if grown * last.size > MAX_GROWTH:
            reason = "the sum of the two constants would be much larger than both"
            report.refuse(layer_of(found.node), reason)
            continue
        new = _written(editor, first, last, total, list(map(held.size, axes)))
        if new is not None:
            editor.replace(last.node, new)
            report.change(layer_of(last.node), "two added constants became one")


def _sum(editor: Editor, found: Call) -> _Sum | None:
    """Read an operator as the addition of a constant that keeps the value's shape and type."""
    if found.arguments.get("alpha", 1) != 1:
        return None
    pairs = [(found.arguments["self"], found.arguments["other"])]
    if found.name == "add":
        pairs.append(pairs[0][::-1])
    for value, other in pairs:
        held = editor.weight(other)
        if isinstance(other, (int, float)):
            held = torch.tensor(float(other), dtype=torch.float64)
        if held is None or not isinstance(value, Node) or editor.weight(value) is not None:
            continue
        before = value.meta["val"]
        if not before.is_floating_point() or held.is_complex():
            continue
        if not same_type(value, found.node):
            continue
        held = held.double() if found.name == "add" else -held.double()
        held = held.reshape(*[1] * (before.ndim - held.ndim), *held.shape)
        return _Sum(found.node, value, held)
    return None


def _before(editor: Editor, last: _Sum) -> tuple[_Sum | None, Arrangement | None]:
    """Find the previous addition of a constant and the arrangement after the reshapes between."""
    way: list[Node] = []
    node = last.value
    while len(node.users) == 1 and (found := call(node)) is not None:
        if found.name in ("add", "sub"):
            first = _sum(editor, found)
            held: Arrangement | None = Arrangement.of(shape(node))
            for each in way:
                held = None if held is None else moved(each, held)
            return first, held
        if editor.is_output(node) or not (is_reshape(found) or is_same(found)):
            break
        way.insert(0, node)
        node = node.all_input_nodes[0]
    return None, None


def _total(first: _Sum, last: _Sum, held: Arrangement) -> tuple[Tensor, list[Pieces]]:
    """The sum of both constants, and the axes of the value to which it is added."""
    one = first.constant.reshape(_cut(held, held.source, first.constant))
    total = one + last.constant.reshape(_cut(held, held.axes, last.constant))
    wide = {piece for piece, size in zip(held.source_order, total.shape, strict=True) if size > 1}
    axes = list(held.axes)
    while len(axes) > _RANK and (at := _joinable(axes, wide)) is not None:
        axes[at : at + 2] = [(*axes[at], *axes[at + 1])]
    full = [
        [int(held.sizes[piece]) if wide.intersection(axis) else 1 for piece in axis]
        for axis in axes
    ]
    total = total.expand([size for axis in full for size in axis])
    return total.reshape([math.prod(axis) for axis in full]), axes


def _joinable(axes: Sequence[Pieces], wide: set[int]) -> int | None:
    """Find an axis to join with the next one: the sum varies along both or along neither.

    A first axis that is a batch of one is not joined, as it stands for a batch of any size.
    """
    for at, (one, other) in enumerate(pairwise(axes)):
        joined = {*one, *other}
        if (one or at) and (wide >= joined or wide.isdisjoint(joined)):
            return at
    return None


def _cut(held: Arrangement, axes: Sequence[Pieces], constant: Tensor) -> list[int]:
    """The shape of a constant after each axis is split into its pieces."""
    return [
        int(held.sizes[piece]) if size > 1 else 1
        for axis, size in zip(axes, constant.shape, strict=True)
        for piece in axis
    ]


def _written(
    editor: Editor, first: _Sum, last: _Sum, total: Tensor, sizes: Sequence[Size]
) -> Node | None:
    """Write one addition of the summed constant; the result has the shape of the second one."""
    like = last.node
    if reshape_sizes(sizes) is None or reshape_sizes(shape(like)) is None:
        return None
    value = reshape(editor, like, first.value, sizes)
    assert value is not None
    constant = editor.constant(total.to(like.meta["val"].dtype), "constant")
    return reshape(editor, like, editor.insert(like, aten.add.Tensor, value, constant), shape(like))
