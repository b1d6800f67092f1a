"""Analyse operators that take part of an axis: one position, or one of several equal parts."""

import operator
from collections.abc import Collection, Sequence
from itertools import pairwise

from torch import Tensor
from torch.fx import Node

from slide_deploy.program.arrangement import Arrangement
from slide_deploy.program.movement import is_movement, moved
from slide_deploy.program.traced import Call, call, shape

_SPLITS = {"unbind", "split", "split_with_sizes", "chunk", "tensor_split"}
_PARTS = {"select", "slice", "narrow"}


def is_selection(node: Node) -> bool:
    """Whether a node takes part of an axis."""
    found = call(node)
    return found is not None and (found.name in _SPLITS or found.name in _PARTS)


def parts(node: Node, held: Arrangement) -> list[tuple[Node, Arrangement]] | None:
    """The results of a selection, with their arrangements.

    Args:
        node: a selection.
        held: the arrangement of its operand.

    Returns:
        None if a result is neither a single position nor one of several equal parts.
    """
    found = call(node)
    if found is None:
        return None
    if found.name in _PARTS:
        one = _part(found, held)
        return None if one is None else [(node, one)]
    made = []
    for user in node.users:
        index = user.args[1] if user.target is operator.getitem else None
        one = _split(found, held, index) if isinstance(index, int) else None
        if one is None:
            return None
        made.append((user, one))
    return made


def _axis(found: Call, held: Arrangement) -> int:
    dim = found.arguments["dim"]
    return int(dim % len(held.axes))


def _part(found: Call, held: Arrangement) -> Arrangement | None:
    axis = _axis(found, held)
    size = held.shape[axis]
    if not isinstance(size, int):
        return None
    if found.name == "select":
        index = found.arguments["index"]
        return held.selected(axis, index % size) if isinstance(index, int) else None
    start, step = found.arguments["start"], found.arguments.get("step", 1)
    length = shape(found.node)[axis]
    if (
        not isinstance(start, int | None)
        or not isinstance(step, int)
        or not isinstance(length, int)
    ):
        return None
    start = (start or 0) + (size if (start or 0) < 0 else 0)
    if step == 1:
        return held.narrowed(axis, start, length)
    return held.sliced(axis, start, step) if length * step == size else None


def _split(found: Call, held: Arrangement, index: int) -> Arrangement | None:
    axis = _axis(found, held)
    if found.name == "unbind":
        return held.selected(axis, index)
    made: Sequence[object] = found.node.meta["val"]
    lengths = [each.shape[axis] for each in made if isinstance(each, Tensor)]
    length = lengths[index]
    if not all(isinstance(each, int) for each in lengths):
        return None
    return held.narrowed(axis, sum(lengths[:index]), length)


def way_to(value: Node, names: Collection[str]) -> list[Node] | None:
    """The movements and selections from an operator to a value, both included.

    Args:
        value: the end of the chain.
        names: names of the operators at which it may start.

    Returns:
        None if any other operator is in between.
    """
    way = [value]
    while (found := call(way[0])) is None or found.name not in names:
        node = way[0]
        if not (is_movement(node) or is_selection(node) or node.target is operator.getitem):
            return None
        way.insert(0, node.all_input_nodes[0])
    return way


def arranged(way: Sequence[Node]) -> Arrangement | None:
    """The arrangement of the end of a chain; None if anything else reads its elements."""
    held = Arrangement.of(shape(way[0]))
    for before, node in pairwise(way):
        if node.target is operator.getitem:
            continue  # it belongs to the split in front of it
        made = {leaf: one for user in before.users for leaf, one in _made(user, held)}
        mine = [leaf for leaf in made if leaf in way]
        found = made[mine[0]] if len(mine) == 1 else None
        others = (one for leaf, one in made.items() if leaf is not mine[0])
        if found is None or not all(one and _are_apart(found, one) for one in others):
            return None
        held = found
    return held


def _made(user: Node, held: Arrangement) -> list[tuple[Node, Arrangement | None]]:
    """The results of a reader, each with its arrangement; None for an unknown one."""
    if is_movement(user):
        return [(user, moved(user, held))]
    made = parts(user, held) if is_selection(user) else None
    return [(user, None)] if made is None else [*made]


def _are_apart(one: Arrangement, other: Arrangement) -> bool:
    """Whether two parts of a value have no element in common."""
    return one.sizes == other.sizes and any(
        other.fixed.get(piece, at) != at for piece, at in one.fixed.items()
    )
