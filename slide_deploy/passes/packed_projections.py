"""Split the queries, keys and values of one matmul in at most four axes.

    (B, N, 3 h d) -> (B, N, 3, h, d) -> permute (3, B, h, N, d) -> q, k, v
    (B, N, 3 h d) -> (B, N, 3 h, d) -> transpose (B, 3 h, N, d) -> split: q, k, v

The pass rewrites every projection whose outputs are split into equal parts through more than four
axes, whatever the order of its outputs: reordering the rows of its weights turns (h, 3, d) into
(3, h, d). The number of parts and their purpose do not matter. If positions come before features,
(B, h, N, d), they still do afterwards: both matmuls of attention then read contiguous rows.

If there are as many heads as positions, features come first and a transpose follows:

    (B, N, 3 h d) -> transpose (B, 3 h d, N) -> split -> (B, h, d, N) -> transpose (B, h, N, d)

because a runtime that fuses attention confuses two axes of the same size.
"""

import operator
from dataclasses import dataclass

import torch
from torch import ops
from torch.fx import Node

from slide_deploy.passes.report import PassReport
from slide_deploy.program.arrangement import Arrangement, Pieces
from slide_deploy.program.editing import Editor
from slide_deploy.program.movement import is_movement, moved, reshape, reshape_sizes, write
from slide_deploy.program.projections import Projection, is_read_by, projection
from slide_deploy.program.selection import is_selection, parts
from slide_deploy.program.traced import layer_of, shape

aten = ops.aten
_RANK = 4


@dataclass(frozen=True)
class _Packed:
    """A projection whose outputs are split into parts.

    Attributes:
        part: the piece of the projection's outputs that enumerates the parts.
        leaves: each part with its number, in any order.
        held: the arrangement that all parts have.
        rank: the largest number of axes of any value in between.
    """

    part: int
    leaves: tuple[tuple[Node, int], ...]
    held: Arrangement
    rank: int


def rewrite(editor: Editor, report: PassReport) -> None:
    """Split packed projections in at most four axes."""
    for found in editor.calls("linear"):
        packed = _packed(editor, found.node)
        if packed is None or packed.rank <= _RANK:
            continue
        reader = projection(editor, found.node)
        rows = _rows(packed)
        is_moved = rows != list(range(len(rows)))
        layer = layer_of(found.node)
        if is_moved and (reader is None or not is_read_by(found.node.args[1], {found.node})):
            report.refuse(layer, "its outputs must be reordered, but its weights are shared")
            continue
        if not _write(editor, found.node, packed):
            report.refuse(layer, "its parts cannot be written in four axes")
            continue
        if is_moved and reader is not None:
            _reorder(editor, reader, rows)
        report.change(layer, f"split into {len(packed.leaves)} parts in at most four axes")


def _packed(editor: Editor, linear: Node) -> _Packed | None:
    node, rank = linear, len(shape(linear))
    held: Arrangement | None = Arrangement.of(shape(linear))
    while held is not None and not editor.is_output(node):
        rank = max(rank, len(shape(node)))
        if all(map(is_selection, node.users)):
            return _cut(editor, node, held, rank)
        (user, *others) = node.users
        if others or not is_movement(user):
            return None
        node, held = user, moved(user, held)
    return None


def _cut(editor: Editor, node: Node, held: Arrangement, rank: int) -> _Packed | None:
    """The parts that the selections of a value take; None if they are no equal parts."""
    leaves: list[tuple[Node, Arrangement]] = []
    for user in node.users:
        made = parts(user, held)
        if made is None:
            return None
        leaves += made
    if not leaves or any(editor.is_output(leaf) for leaf, _ in leaves):
        return None
    first = leaves[0][1]
    (part, *others) = first.fixed
    alike = all((one.sizes, one.axes) == (first.sizes, first.axes) for _, one in leaves)
    if others or not alike or part not in first.source[-1]:
        return None
    numbered = [(leaf, one.fixed[part]) for leaf, one in leaves if set(one.fixed) == {part}]
    return _further(editor, _Packed(part, tuple(numbered), first, rank))


def _further(editor: Editor, packed: _Packed) -> _Packed:
    """Follow the permutations and reshapes that are the same for all parts."""
    while True:
        users = [list(leaf.users) for leaf, _ in packed.leaves]
        if not all(len(each) == 1 and is_movement(each[0]) for each in users):
            return packed
        behind = [each[0] for each in users]
        held = [moved(each, packed.held) for each in behind]
        first = held[0]
        if first is None or any(map(editor.is_output, behind)):
            return packed
        if any(
            each is None or (each.sizes, each.axes) != (first.sizes, first.axes) for each in held
        ):
            return packed
        numbers = (number for _, number in packed.leaves)
        leaves = tuple(zip(behind, numbers, strict=True))
        rank = max(packed.rank, len(shape(behind[0])))
        packed = _Packed(packed.part, leaves, first, rank)


def _own(packed: _Packed) -> Pieces:
    """The pieces of the projection's outputs within a part, in the order of the part."""
    outputs = packed.held.source[-1]
    return tuple(piece for piece in packed.held.order if piece in outputs)


def _rows(packed: _Packed) -> list[int]:
    """The row of the weights for each output, after outputs are ordered (part, pieces)."""
    held, outputs = packed.held, packed.held.source[-1]
    wanted = (packed.part, *_own(packed))
    rows = torch.arange(int(held.size(outputs))).reshape(
        [int(held.sizes[each]) for each in outputs]
    )
    order = [outputs.index(piece) for piece in wanted]
    return [int(row) for row in rows.permute(order).flatten()]


def _reorder(editor: Editor, reader: Projection, rows: list[int]) -> None:
    weight, bias = reader.weight, reader.bias
    reader.rewritten(editor, weight[rows], None if bias is None else bias[rows])


def _write(editor: Editor, linear: Node, packed: _Packed) -> bool:
    """Write the parts of a projection whose outputs are ordered (part, pieces of a part)."""
    own, held = _own(packed), packed.held
    like = linear.next
    source = (*held.source[:-1], (packed.part, *own))
    ordered = Arrangement(held.sizes, source, held.axes, {})
    if not own or not all(isinstance(held.sizes[piece], int) for piece in own):
        return False
    features_first = _features_first(ordered, own)
    wanted = features_first or _separated(ordered, own[0])
    axis = next(index for index, pieces in enumerate(wanted) if own[0] in pieces)
    length = int(held.size(wanted[axis]))
    stacked = list(wanted)
    stacked[axis] = (packed.part, *stacked[axis])
    if len(stacked) > _RANK or reshape_sizes(held.shape) is None:
        return False
    value = write(editor, like, linear, ordered.with_axes(stacked))
    if value is None:
        return False
    split = editor.insert(like, aten.split.Tensor, value, length, axis)
    for leaf, number in packed.leaves:
        part = editor.insert(like, operator.getitem, split, number)
        if features_first:
            batch, heads, positions, features = held.axes
            features_first_part = reshape(
                editor, like, part, tuple(map(held.size, (batch, heads, features, positions)))
            )
            assert features_first_part is not None
            part = editor.insert(like, aten.transpose.int, features_first_part, 2, 3)
        else:
            shaped = reshape(editor, like, part, held.shape)
            assert shaped is not None
            part = shaped
        editor.replace(leaf, part)
    return True


def _separated(held: Arrangement, first: int) -> list[Pieces]:
    """The axes of a part, split in front of the first piece of the projection's outputs."""
    axes: list[Pieces] = []
    for pieces in held.axes:
        at = pieces.index(first) if first in pieces else 0
        axes += [pieces[:at], pieces[at:]] if at else [pieces]
    return [pieces for index, pieces in enumerate(axes) if pieces or index == 0]


def _features_first(held: Arrangement, own: Pieces) -> list[Pieces] | None:
    """(batch, heads and features, positions) if there are as many heads as positions, else None."""
    if len(held.axes) != 4 or len(held.axes[1]) != 1 or held.axes[1] + held.axes[3] != own:
        return None
    batch, heads, positions, features = held.axes  # a head of one feature has no piece for it
    if not positions or held.size(heads) != held.size(positions):
        return None
    return [batch, (*heads, *features), positions]
