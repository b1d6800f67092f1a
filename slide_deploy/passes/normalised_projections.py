"""Move the weights of a normalisation into the projections that read it.

    (g * x + b) · w + c = x · (g * w) + (b · w + c)

x is the output of a layer, group or RMS normalisation before its weight g and bias b are applied.
Every reader must be a linear layer or a convolution without padding: padding reads zeros, but the
normalisation would give b there. Operators that move elements or average over positions may stand
in between. New weights are computed in float64. The pass leaves a normalisation that anything else
reads. It also leaves one whose projections share weights with other layers, as those weights would
have to be stored twice.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from slide_deploy.passes.report import PassReport
from slide_deploy.program.editing import Editor
from slide_deploy.program.projections import (
    Projection,
    UnreadableProjection,
    is_padded,
    is_read_by,
    projection,
    projections_behind,
)
from slide_deploy.program.traced import Call, layer_of, shape

_NORMALISATIONS = ("layer_norm", "group_norm", "rms_norm")


@dataclass(frozen=True)
class _Affine:
    """Weight and bias of a normalisation.

    Attributes:
        axis: axis of the features.
        weight: (features).
        bias: (features); zeros if there is none.
    """

    axis: int
    weight: Tensor
    bias: Tensor


def rewrite(editor: Editor, report: PassReport) -> None:
    """Move the weights of normalisations into projections."""
    for found in editor.calls(*_NORMALISATIONS):
        affine = _affine(editor, found)
        if affine is None:
            continue
        readers = _readers(editor, found.node, affine, report)
        if not readers:
            continue
        for reader in readers:
            reader.rewritten(editor, *_folded(reader, affine))
        editor.replace(found.node, _plain(editor, found))
        count = "a projection" if len(readers) == 1 else f"{len(readers)} projections"
        report.change(layer_of(found.node), f"weights moved into {count}")


def _affine(editor: Editor, found: Call) -> _Affine | None:
    """Weight and bias of a normalisation; None if it has neither, or one of several axes."""
    given, added = found.arguments["weight"], found.arguments.get("bias")
    weight, bias = editor.weight(given), editor.weight(added)
    if (given is not None and weight is None) or (added is not None and bias is None):
        return None
    known = weight if weight is not None else bias
    if known is None or known.ndim != 1:
        return None
    ones = torch.ones(known.shape, dtype=torch.float64)
    axis = 1 if found.name == "group_norm" else len(shape(found.node)) - 1
    return _Affine(
        axis,
        ones if weight is None else weight.double(),
        0 * ones if bias is None else bias.double(),
    )


def _readers(editor: Editor, node: Node, affine: _Affine, report: PassReport) -> list[Projection]:
    """The projections that read a normalisation; empty if it has to be left alone."""
    layer = layer_of(node)
    try:
        nodes = projections_behind(editor, node, affine.axis)
    except UnreadableProjection as reason:
        if any(_is_projection(user) for user in node.users):
            report.refuse(layer, str(reason))
        return []
    readers = []
    for each in nodes:
        known = projection(editor, each)
        if known is None:
            report.refuse(layer, f"the weights of {layer_of(each)} are computed from inputs")
            return []
        if is_padded(each) and affine.bias.any():
            report.refuse(layer, f"{layer_of(each)} pads with zeros")
            return []
        if not is_read_by(each.args[1], set(nodes)):
            report.refuse(layer, f"{layer_of(each)} shares its weights")
            return []
        readers.append(known)
    return readers


def _is_projection(node: Node) -> bool:
    return getattr(node.target, "_opname", "") in ("linear", "conv1d", "conv2d", "conv3d")


def _folded(reader: Projection, affine: _Affine) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a projection in float64, including those of the normalisation."""
    weight = reader.weight.double()
    bias = None if reader.bias is None else reader.bias.double()
    if affine.bias.any():
        added = (weight * reader.per_input(affine.bias)).flatten(1).sum(1)
        bias = added if bias is None else bias + added
    return weight * reader.per_input(affine.weight), bias


def _plain(editor: Editor, found: Call) -> Node:
    """The normalisation without weight and bias."""
    names = {"layer_norm": 2, "group_norm": 2, "rms_norm": 2}
    args = list(found.node.args)
    at = names[found.name]
    for index in (at, at + 1) if "bias" in found.arguments else (at,):
        if index < len(args):
            args[index] = None
    kwargs = {
        name: held for name, held in found.node.kwargs.items() if name not in ("weight", "bias")
    }
    return editor.insert(found.node, found.node.target, *args, **kwargs)
