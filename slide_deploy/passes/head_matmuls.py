"""Compute queries, keys and values by one matmul per head, in the layout that attention reads.

    linear(x, w) -> (B, N, 3 h, d) -> transpose (B, 3 h, N, d) -> split: q, k, v
    (B, 1, N, C) @ weights (h, C, d) of q; k and v likewise

This removes the transpose and the split. Libraries rearrange the weights of a matmul per head in
every call, and that has to be cheap beside the matmul itself: it pays from ``MIN_POSITIONS`` rows
on. The pass requires a projection without bias all of whose outputs are split into heads. It also
requires that the number of heads differs from the number of positions, because a runtime confuses
the two axes if they have the same size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, ops
from torch.fx import Node

from slide_deploy.passes.report import PassReport
from slide_deploy.program.arrangement import Arrangement
from slide_deploy.program.editing import Editor
from slide_deploy.program.movement import is_movement, moved, reshape
from slide_deploy.program.projections import Projection, is_read_by, projection
from slide_deploy.program.selection import is_selection, parts
from slide_deploy.program.traced import layer_of, shape

aten = ops.aten
MIN_POSITIONS = 128


@dataclass(frozen=True)
class _Heads:
    """A part of a projection's outputs, split into heads.

    Attributes:
        node: the value of the part.
        held: its arrangement, (B)(h)(N)(d) or (B)(h)(d)(N).
        is_transposed: whether the arrangement is the second one.
    """

    node: Node
    held: Arrangement
    is_transposed: bool


def rewrite(editor: Editor, report: PassReport) -> None:
    """Replace projections by one matmul per head."""
    for found in editor.calls("linear"):
        source = found.arguments["input"]
        sizes = shape(source)
        reader = projection(editor, found.node)
        if reader is None or reader.bias is not None or len(sizes) != 3:
            continue
        if not isinstance(sizes[1], int) or sizes[1] < MIN_POSITIONS:
            continue
        cut = _parts(editor, found.node, Arrangement.of(shape(found.node)))
        if not cut or not is_read_by(found.node.args[1], {found.node}):
            continue
        batch, positions, inputs = sizes
        rows = reshape(editor, found.node, source, (batch, 1, positions, inputs))
        if rows is None:
            continue
        for part in cut:
            _write(editor, rows, found.node, reader, part)
        report.change(layer_of(found.node), f"became {len(cut)} matmuls with a matrix per head")


def _parts(editor: Editor, node: Node, held: Arrangement) -> list[_Heads] | None:
    """The parts that are split into heads; None if anything else is read."""
    if editor.is_output(node) or not node.users:
        return None
    found: list[_Heads] = []
    for user in node.users:
        made: list[tuple[Node, Arrangement]] | None = None
        if is_movement(user):
            one = moved(user, held)
            made = None if one is None else [(user, one)]
        elif is_selection(user):
            made = parts(user, held)
        if made is None:
            return None
        for leaf, one in made:
            heads = _heads(leaf, one)
            is_cut = all(map(is_selection, leaf.users))
            below = _parts(editor, leaf, one) if heads is None or is_cut else None
            if below is not None:
                found += below
            elif heads is not None:
                found.append(heads)
            else:
                return None
    return found


def _heads(node: Node, held: Arrangement) -> _Heads | None:
    """Read a value as a part that is split into heads; None if it is not."""
    if len(held.axes) != 4:
        return None
    batch, positions, outputs = held.source
    heads = held.axes[1]
    is_transposed = held.axes[3] == positions
    features = held.axes[2 if is_transposed else 3]
    wanted = (
        (batch, heads, features, positions)
        if is_transposed
        else (batch, heads, positions, features)
    )
    if held.axes != wanted or not heads or not {*heads, *features} <= set(outputs):
        return None
    if held.size(heads) == held.size(positions):
        return None
    return _Heads(node, held, is_transposed)


def _write(editor: Editor, rows: Node, linear: Node, reader: Projection, part: _Heads) -> None:
    """Replace one part by a matmul of the rows (B, 1, N, C)."""
    weight = editor.constant(_weight(reader.weight, part), "weight")
    matmul = editor.insert(linear, aten.matmul.default, rows, weight)
    if part.is_transposed:
        matmul = editor.insert(linear, aten.transpose.int, matmul, 2, 3)
    editor.replace(part.node, matmul)


def _weight(weight: Tensor, part: _Heads) -> Tensor:
    """The weights of one part, (heads, inputs, features), from a weight (outputs, inputs)."""
    held = part.held
    outputs = held.source[2]
    heads, features = held.axes[1], held.axes[2 if part.is_transposed else 3]
    rows = torch.arange(len(weight)).reshape([int(held.sizes[piece]) for piece in outputs])
    rows = rows[tuple(held.fixed.get(piece, slice(None)) for piece in outputs)]
    own = [piece for piece in outputs if piece not in held.fixed]
    rows = rows.permute([own.index(piece) for piece in (*heads, *features)])
    rows = rows.reshape(int(held.size(heads)), int(held.size(features)))
    return weight[rows].transpose(1, 2)
