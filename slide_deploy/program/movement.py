"""Analyse and write operators that only move elements: reshapes, permutations and copies."""

from collections.abc import Sequence

import torch
from torch import ops
from torch.fx import Node

from slide_deploy.program.arrangement import Arrangement, Pieces, Size
from slide_deploy.program.editing import Editor
from slide_deploy.program.traced import Call, call, is_laid_out, reads_memory, same_sizes, shape

aten = ops.aten
_RESHAPES = {
    *("reshape", "view", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze"),
}
_SAME = {
    *("contiguous", "clone", "alias", "detach", "detach_", "lift_fresh_copy", "lift_fresh"),
    *("_to_copy", "to", "type_as", "expand", "expand_as", "pin_memory"),
}
DROPOUTS = {"dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"}


def is_same(found: Call) -> bool:
    """Whether an operator returns its operand unchanged: a copy, or a cast to the same type."""
    source = found.node.args[0] if found.node.args else None
    if found.name in DROPOUTS:
        return not found.arguments["train"] or found.arguments["p"] == 0
    if found.name not in _SAME or not isinstance(source, Node) or is_laid_out(found.node):
        return False
    before, after = source.meta.get("val"), found.node.meta.get("val")
    return (
        isinstance(before, torch.Tensor)
        and isinstance(after, torch.Tensor)
        and (before.dtype, before.device) == (after.dtype, after.device)
        and same_sizes(before.shape, after.shape)
    )


def is_reshape(found: Call) -> bool:
    """Whether an operator changes the shape and keeps all elements in memory order."""
    value = found.node.meta.get("val")
    is_named = found.name in _RESHAPES and not reads_memory(found.node)
    return is_named and isinstance(value, torch.Tensor)


def permutation(found: Call) -> tuple[int, ...] | None:
    """The new order of the axes; None if the operator is no permutation."""
    if not found.node.args:
        return None
    rank = len(shape(found.node.args[0]))
    order = list(range(rank))
    if found.name == "permute":
        return tuple(axis % rank for axis in found.arguments["dims"])
    if found.name in ("transpose", "swapaxes", "swapdims"):
        one, other = (int(axis) % rank for axis in found.node.args[1:3])  # type: ignore[arg-type]
    elif found.name == "t" and rank == 2:
        one, other = 0, 1
    elif found.name == "mT" and rank >= 2:
        one, other = rank - 2, rank - 1
    elif found.name in ("numpy_T", "T"):
        return tuple(reversed(order))
    elif found.name in ("movedim", "moveaxis"):
        return _moved_axes(found, rank)
    else:
        return None
    order[one], order[other] = order[other], order[one]
    return tuple(order)


def _moved_axes(found: Call, rank: int) -> tuple[int, ...]:
    def axes(given: int | Sequence[int]) -> list[int]:
        return [axis % rank for axis in ([given] if isinstance(given, int) else given)]

    sources, targets = axes(found.arguments["source"]), axes(found.arguments["destination"])
    rest = iter(axis for axis in range(rank) if axis not in sources)
    given = dict(zip(targets, sources, strict=True))
    return tuple(given[axis] if axis in given else next(rest) for axis in range(rank))


def is_movement(node: object) -> bool:
    """Whether a node is a reshape, a permutation of axes or a copy."""
    found = call(node)
    return found is not None and (
        is_same(found) or is_reshape(found) or permutation(found) is not None
    )


def moved(node: Node, source: Arrangement) -> Arrangement | None:
    """The arrangement after a movement; None if it is unknown."""
    found = call(node)
    if found is None:
        return None
    if is_same(found):
        return source
    if is_reshape(found):
        return source.reshaped(shape(node))
    order = permutation(found)
    return None if order is None else source.permuted(order)


def chain_to(editor: Editor, last: Node) -> list[Node] | None:
    """The chain of movements that ends with the given one.

    Returns:
        None if the node is no movement, or if its only reader is another movement.
    """
    if not is_movement(last) or _goes_on(editor, last):
        return None
    chain = [last]
    while is_movement(before := chain[0].all_input_nodes[0]) and _goes_on(editor, before):
        chain.insert(0, before)
    return chain


def _goes_on(editor: Editor, node: Node) -> bool:
    """Whether the only reader of a movement is another movement."""
    (user, *others) = node.users or (None,)
    return not others and not editor.is_output(node) and is_movement(user)


def moved_along(chain: Sequence[Node]) -> Arrangement | None:
    """The arrangement after a chain of movements, relative to its source; None if unknown."""
    held: Arrangement | None = Arrangement.of(shape(chain[0].all_input_nodes[0]))
    for node in chain:
        held = None if held is None else moved(node, held)
    return held


def reshape_sizes(sizes: Sequence[Size]) -> list[int] | None:
    """The arguments of a reshape, with -1 for an open size; None if several sizes are open."""
    numbers = [size if isinstance(size, int) else -1 for size in sizes]
    return numbers if numbers.count(-1) <= 1 else None


def reshape(editor: Editor, like: Node, value: Node, sizes: Sequence[Size]) -> Node | None:
    """Insert a reshape unless the value has that shape; None if several sizes are open."""
    if same_sizes(shape(value), sizes):
        return value
    numbers = reshape_sizes(sizes)
    return None if numbers is None else editor.insert(like, aten.reshape.default, value, numbers)


def permute(editor: Editor, like: Node, value: Node, order: Sequence[int]) -> Node:
    """Insert a permutation of axes unless it moves none."""
    if list(order) == list(range(len(order))):
        return value
    moving = [axis for axis, other in enumerate(order) if axis != other]
    if len(moving) == 2:
        return editor.insert(like, aten.transpose.int, value, *moving)
    return editor.insert(like, aten.permute.default, value, list(order))


def plan(wanted: Arrangement) -> tuple[tuple[Size, ...], tuple[int, ...]] | None:
    """Find a shape of the source and a permutation of its axes that give an arrangement.

    The source keeps its axes if none has to be split. Otherwise pieces that stay neighbours are
    joined.

    Args:
        wanted: an arrangement that contains all pieces of its source, in any order.
    """
    order, source = wanted.order, wanted.source_order
    if sorted(order) != sorted(source):
        return None
    place = {piece: index for index, piece in enumerate(order)}
    natural = [axis for axis in wanted.source if axis]
    if _are_rows(natural, order):
        shown = tuple(map(wanted.size, wanted.source))
        starts = [place[axis[0]] if axis else None for axis in wanted.source]
        return shown, _sorted_with_gaps(starts)
    blocks: list[list[int]] = []
    for piece in source:
        if blocks and place[piece] == place[blocks[-1][-1]] + 1:
            blocks[-1].append(piece)
        else:
            blocks.append([piece])
    joined = [tuple(block) for block in blocks]
    axes = sorted(range(len(joined)), key=lambda axis: place[joined[axis][0]])
    return tuple(map(wanted.size, joined)), tuple(axes)


def _are_rows(axes: Sequence[Pieces], order: Pieces) -> bool:
    """Whether the pieces of every axis are adjacent in an order."""
    text = list(order)
    starts = [text.index(axis[0]) for axis in axes]
    return all(
        tuple(text[start : start + len(axis)]) == axis
        for start, axis in zip(starts, axes, strict=True)
    )


def _sorted_with_gaps(starts: Sequence[int | None]) -> tuple[int, ...]:
    """Sort axes by their start; an axis without a start stays behind the axis before it."""
    keys: list[int] = []
    for start in starts:
        keys.append(start if start is not None else keys[-1] if keys else -1)
    return tuple(sorted(range(len(keys)), key=keys.__getitem__))


def write(editor: Editor, like: Node, source: Node, wanted: Arrangement) -> Node | None:
    """Write an arrangement with at most a reshape, a permutation and a reshape.

    Args:
        editor: editor of the program.
        like: the new operators are inserted in front of this node.
        source: the source of the arrangement.
        wanted: the arrangement; it has no fixed pieces.

    Returns:
        The new value; None if a reshape would have several open sizes.
    """
    found = plan(wanted)
    if found is None:
        return None
    first, order = found
    last = wanted.shape
    if any(
        reshape_sizes(after) is None and not same_sizes(before, after)
        for before, after in ((shape(source), first), (tuple(first[axis] for axis in order), last))
    ):
        return None
    cut = reshape(editor, like, source, first)
    assert cut is not None
    return reshape(editor, like, permute(editor, like, cut, order), last)
