"""Join patches by one transpose, whatever their order, and reorder the weights that read them.

    cat(x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2])     of (B, H, W, C)
    (B H/2, 2, W/2, 2 C) -> transpose (1, 2) -> (B, H/2, W/2, 4 C)

The second form has the four positions of a cell in row-major order and passes over memory once. If
the network has them in another order, only linear layers, convolutions and layer normalisations
may read them, and the pass reorders their weights. Cells may have any height and width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.fx import Node

from slide_deploy.passes.report import PassReport
from slide_deploy.program.arrangement import Arrangement, Pieces
from slide_deploy.program.editing import Editor
from slide_deploy.program.movement import plan, write
from slide_deploy.program.projections import (
    Projection,
    UnreadableProjection,
    is_read_by,
    projection,
    projections_behind,
)
from slide_deploy.program.selection import is_selection, parts
from slide_deploy.program.traced import Call, call, layer_of, shape

_NORMALISATION = "layer_norm"
_RANK = 4


def rewrite(editor: Editor, report: PassReport) -> None:
    """Join patches by one transpose."""
    for node in list(editor.program.graph.nodes):
        found = None if node._erased else call(node)
        if found is not None and found.name in ("cat", "concat"):
            _join(editor, found, report)


def _join(editor: Editor, found: Call, report: PassReport) -> None:
    """Rewrite one concatenation if its parts are the strided slices of all positions of a cell."""
    cat = found.node
    axis = found.arguments["dim"] % len(shape(cat))
    cells = _cells(found.arguments["tensors"], axis)
    if cells is None:
        return
    source, held, numbers = cells
    rows = tuple(piece for piece in held.source_order if piece in held.fixed)
    width = int(held.size(held.axes[axis]))
    columns_first = rows[::-1]
    is_columns_first = numbers == _numbers(held, columns_first)
    fallback = _with_cell(held, axis, columns_first) if is_columns_first else None
    # The position in the new order of each column of the old one.
    columns = torch.cat([number * width + torch.arange(width) for number in numbers])
    _write(editor, cat, source, _with_cell(held, axis, rows), axis, columns, fallback, report)


def _numbers(held: Arrangement, cell: Pieces) -> list[int]:
    """The row-major numbers of the positions of a cell, in the order of the given pieces."""
    rows = [piece for piece in held.source_order if piece in held.fixed]
    numbers = torch.arange(int(held.size(cell))).reshape([int(held.sizes[each]) for each in rows])
    return [int(each) for each in numbers.permute([rows.index(each) for each in cell]).flatten()]


def _with_cell(held: Arrangement, axis: int, cell: Pieces) -> Arrangement:
    """The arrangement of patches that hold the features of one position after the other."""
    axes = [(*cell, *pieces) if at == axis else pieces for at, pieces in enumerate(held.axes)]
    return Arrangement(held.sizes, held.source, tuple(axes), {})


def _cells(values: Sequence[Node], axis: int) -> tuple[Node, Arrangement, list[int]] | None:
    """Read the slices that are joined.

    Returns:
        Their source, the arrangement of one slice, and the row-major number of each in its cell.
        None if they are not all positions of a cell.
    """
    found = [_slice(value) for value in values]
    sources = {each[0] for each in found if each is not None}
    if None in found or len(sources) != 1 or len(found) < 2:
        return None
    helds = [each[1] for each in found if each is not None]
    first = helds[0]
    if not first.fixed or not isinstance(first.size(first.axes[axis]), int):
        return None
    numbers = []
    for held in helds:
        if (held.sizes, held.axes) != (first.sizes, first.axes):
            return None
        number = 0
        for piece in held.source_order:
            if piece in held.fixed:
                number = number * int(held.sizes[piece]) + held.fixed[piece]
        numbers.append(number)
    is_complete = sorted(numbers) == list(range(int(first.size(tuple(first.fixed)))))
    return (sources.pop(), first, numbers) if is_complete else None


def _slice(value: Node) -> tuple[Node, Arrangement] | None:
    """The value that a strided slice reads, and the arrangement of the slice."""
    way: list[Call] = []
    while isinstance(value, Node) and is_selection(value) and value.target is not None:
        found = call(value)
        if found is None or found.name != "slice":
            break
        way.insert(0, found)
        value = value.all_input_nodes[0]
    held = Arrangement.of(shape(value))
    # Sorting the slices by axis gives the same pieces whichever axis was sliced first.
    for each in sorted(way, key=lambda each: each.arguments["dim"] % len(shape(each.node))):
        made = parts(each.node, held)
        if made is None:
            return None
        ((_, held),) = made
    return (value, held) if way else None


def _write(
    editor: Editor,
    old: Node,
    source: Node,
    wanted: Arrangement,
    axis: int,
    columns: Tensor,
    fallback: Arrangement | None,
    report: PassReport,
) -> None:
    """Write patches in row-major order and reorder the weights that read them.

    Args:
        editor: editor of the program.
        old: the patches.
        source: the value that is cut into patches.
        wanted: the arrangement that replaces the patches.
        axis: axis of the features of patches.
        columns: position of each old feature among the new ones.
        fallback: arrangement in the old order, for readers whose weights cannot be reordered; None
            if it takes several transposes.
        report: report of the pass.
    """
    layer = layer_of(old)
    found = plan(wanted)
    if found is None or len(found[0]) > _RANK:
        return
    readers: list[Node] = []
    if not torch.equal(columns, torch.arange(len(columns))):
        try:
            readers = _readers(editor, old, axis)
        except UnreadableProjection as reason:
            if fallback is None:
                report.refuse(layer, f"its patches have another order, and {reason}")
                return
            wanted = fallback
    new = write(editor, old, source, wanted)
    if new is None:
        report.refuse(layer, "a reshape would have several open sizes")
        return
    order = columns.argsort()
    for reader in readers:
        _reorder(editor, reader, order)
    editor.replace(old, new)
    report.change(layer, "patches joined by one transpose")


def _readers(editor: Editor, patches: Node, axis: int) -> list[Node]:
    """All readers of patches, if their weights can be reordered.

    Raises:
        UnreadableProjection: if some cannot.
    """
    readers = projections_behind(editor, patches, axis, frozenset({_NORMALISATION}))
    for reader in readers:
        if not _can_reorder(editor, reader, set(readers)):
            raise UnreadableProjection(f"the weights of {layer_of(reader)} are shared or computed")
    return readers


def _can_reorder(editor: Editor, reader: Node, readers: set[Node]) -> bool:
    found = call(reader)
    if found is not None and found.name == _NORMALISATION:
        given = [found.arguments[name] for name in ("weight", "bias")]
        held = [editor.weight(each) for each in given if each is not None]
        return all(each is not None and each.ndim == 1 for each in held)
    known = projection(editor, reader)
    return known is not None and known.groups == 1 and is_read_by(reader.args[1], readers)


def _reorder(editor: Editor, reader: Node, order: Tensor) -> None:
    """Reorder the inputs of a reader; ``order`` gives the old position of each new input."""
    known = projection(editor, reader)
    if isinstance(known, Projection):
        known.rewritten(editor, known.weight[:, order], known.bias)
        return
    found = call(reader)
    assert found is not None
    given = [editor.weight(found.arguments[name]) for name in ("weight", "bias")]
    held = [each if each is None else editor.constant(each[order], "norm") for each in given]
    rest = (found.arguments["normalized_shape"], *held, found.arguments["eps"])
    new = editor.insert(reader, reader.target, reader.args[0], *rest)
    editor.replace(reader, new)
