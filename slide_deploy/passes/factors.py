"""Move factors behind a projection into its weights.

    f * (x · w + c) = x · (f * w) + f * c
    f * (q · k) = (f * q) · k                  if q is a part of a projection

f is a number or a constant that is the same at all positions, such as the scale of queries or
logits, or a scale per layer, head or channel. The pass changes only rows of weights whose outputs
have no other reader. Operators that move elements or split outputs may stand between the
projection and the factor. New weights are computed in float64.
"""

import torch
from torch import Tensor
from torch.fx import Node

from slide_deploy.passes.report import PassReport
from slide_deploy.program.arrangement import Arrangement
from slide_deploy.program.editing import Editor
from slide_deploy.program.projections import Projection, is_read_by, projection
from slide_deploy.program.selection import arranged, way_to
from slide_deploy.program.traced import Call, layer_of, same_type

_PROJECTIONS = ("linear", "conv1d", "conv2d", "conv3d")
_MATMULS = ("matmul", "bmm")


def rewrite(editor: Editor, report: PassReport) -> None:
    """Move factors into the weights of projections."""
    for found in editor.calls("mul", "div"):
        value, factor = _operands(editor, found)
        if value is None or factor is None or editor.is_output(value):
            continue
        scaled = _scaled(editor, value, factor)
        if scaled is None:
            continue
        reader, rows = scaled
        shown = rows.reshape(-1, *[1] * (reader.weight.ndim - 1))
        bias = None if reader.bias is None else reader.bias.double() * rows
        reader.rewritten(editor, reader.weight.double() * shown, bias)
        # The value may have been the projection itself, which is a new node now.
        current = next(each for each in found.node.all_input_nodes if editor.weight(each) is None)
        editor.replace(found.node, current)
        editor.drop(found.node)
        parts = (layer_of(reader.node),)
        report.change(layer_of(found.node), "a factor moved into a projection", parts=parts)


def _operands(editor: Editor, found: Call) -> tuple[Node | None, Tensor | None]:
    """The scaled value, and the factor in float64."""
    arguments = found.arguments
    if arguments.get("rounding_mode") is not None:
        return None, None
    pairs = [(arguments["self"], arguments["other"])]
    if found.name == "mul":
        pairs.append((arguments["other"], arguments["self"]))
    for value, other in pairs:
        if not isinstance(value, Node) or editor.weight(value) is not None:
            continue
        held = editor.weight(other)
        if isinstance(other, (int, float)):
            held = torch.tensor(float(other), dtype=torch.float64)
        if held is None or held.is_complex() or not same_type(value, found.node):
            continue
        factor = held.double() if found.name == "mul" else 1 / held.double()
        if bool(factor.isfinite().all()):
            return value, factor
    return None, None


def _scaled(editor: Editor, value: Node, factor: Tensor) -> tuple[Projection, Tensor] | None:
    """The projection that a value comes from, and the factor for each of its outputs."""
    if len(value.users) != 1:
        return None
    way = way_to(value, (*_PROJECTIONS, *_MATMULS))
    if way is None:
        return None
    held = arranged(way)
    reader = projection(editor, way[0])
    if held is None:
        return None
    if reader is None:
        return _scaled_operand(editor, way[0], held, factor)
    if not is_read_by(way[0].args[1], {way[0]}):
        return None
    axis = len(held.source) - 1 if reader.is_linear else len(held.source) - reader.weight.ndim + 1
    rows = _rows(held, axis, factor)
    return None if rows is None else (reader, rows)


def _scaled_operand(
    editor: Editor, matmul: Node, held: Arrangement, factor: Tensor
) -> tuple[Projection, Tensor] | None:
    """Find the projection behind an operand of a matmul whose result a number scales."""
    if factor.numel() != 1 or held.fixed or len(matmul.all_input_nodes) != 2:
        return None
    for operand in matmul.all_input_nodes:
        found = _scaled(editor, operand, factor.reshape(()))
        if found is not None:
            return found
    return None


def _rows(held: Arrangement, axis: int, factor: Tensor) -> Tensor | None:
    """The factor for each output of a projection; None if it differs between positions.

    Args:
        held: arrangement of the scaled value in terms of the projection's result.
        axis: axis of the outputs in the projection's result.
        factor: the factor, which is broadcast to the value.
    """
    outputs = held.source[axis]
    sizes = [int(held.sizes[piece]) for piece in outputs]
    factor = factor.reshape(*[1] * (len(held.axes) - factor.ndim), *factor.shape)
    cut: list[int] = []
    for pieces, size in zip(held.axes, factor.shape, strict=True):
        if size > 1 and not set(pieces) <= set(outputs):
            return None
        cut += [int(held.sizes[piece]) if size > 1 else 1 for piece in pieces]
    own = [piece for piece in outputs if piece not in held.fixed]
    order = held.order
    ordered = factor.reshape(cut).permute(
        [order.index(piece) for piece in own]
        + [at for at, piece in enumerate(order) if piece not in own]
    )
    ordered = ordered.reshape(ordered.shape[: len(own)])
    rows = torch.ones(sizes, dtype=torch.float64)
    rows[tuple(held.fixed.get(piece, slice(None)) for piece in outputs)] = ordered
    return rows.flatten()
