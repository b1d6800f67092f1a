"""A product for each head, which gives queries, keys and values as attention reads them.

    linear(x, w) -> (B, N, 3 h, d) -> transpose (B, 3 h, N, d) -> split: q, k, v
    (B, 1, N, C) @ q's (h, C, d), and the same for k and v

No transpose and no split are left. Libraries rearrange the weights of a product for each head in
every call, which must be small beside the product itself: it pays from ``LEAST_POSITIONS`` rows.
The projection has no bias, all its outputs are cut into heads, and there are not as many heads as
positions, which a runtime would mix up.
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
LEAST_POSITIONS = 128


@dataclass(frozen=True)
class _Heads:
    """A part of a projection's outputs, cut into heads.

    Attributes:
        node: the value.
        held: its arrangement, (B)(h)(N)(d) or (B)(h)(d)(N).
        is_turned: whether it is the latter.
    """

    node: Node
    held: Arrangement
    is_turned: bool


def rewrite(editor: Editor, report: PassReport) -> None:
    """Write a product for each head; see above."""
    for found in editor.calls("linear"):
        source = found.arguments["input"]
        sizes = shape(source)
        reader = projection(editor, found.node)
        if reader is None or reader.bias is not None or len(sizes) != 3:
            continue
        if not isinstance(sizes[1], int) or sizes[1] < LEAST_POSITIONS:
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
        report.change(layer_of(found.node), f"{len(cut)} products for each head")


def _parts(editor: Editor, node: Node, held: Arrangement) -> list[_Heads] | None:
    """The parts that are read; None if something else is."""
    if editor.is_answer(node) or not node.users:
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
    """A value as a part cut into heads."""
    if len(held.axes) != 4:
        return None
    batch, positions, outputs = held.source
    heads = held.axes[1]
    is_turned = held.axes[3] == positions
    features = held.axes[2 if is_turned else 3]
    wanted = (
        (batch, heads, features, positions) if is_turned else (batch, heads, positions, features)
    )
    if held.axes != wanted or not heads or not {*heads, *features} <= set(outputs):
        return None
    if held.size(heads) == held.size(positions):
        return None
    return _Heads(node, held, is_turned)


def _write(editor: Editor, rows: Node, linear: Node, reader: Projection, part: _Heads) -> None:
    """Write one part anew, of rows (B, 1, N, C)."""
    weight = editor.constant(_weight(reader.weight, part), "weight")
    product = editor.insert(linear, aten.matmul.default, rows, weight)
    if part.is_turned:
        product = editor.insert(linear, aten.transpose.int, product, 2, 3)
    editor.replace(part.node, product)


def _weight(weight: Tensor, part: _Heads) -> Tensor:
    """(heads, inputs, features) of the rows of a weight (outputs, inputs)."""
    held = part.held
    outputs = held.source[2]
    heads, features = held.axes[1], held.axes[2 if part.is_turned else 3]
    rows = torch.arange(len(weight)).reshape([int(held.sizes[piece]) for piece in outputs])
    rows = rows[tuple(held.fixed.get(piece, slice(None)) for piece in outputs)]
    own = [piece for piece in outputs if piece not in held.fixed]
    rows = rows.permute([own.index(piece) for piece in (*heads, *features)])
    rows = rows.reshape(int(held.size(heads)), int(held.size(features)))
    return weight[rows].transpose(1, 2)
