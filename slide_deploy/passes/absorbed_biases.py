"""Absorb the bias of a projection into its weights, behind a normalisation that adds 1.

A layer normalisation without weight and bias outputs x, which sums to zero over its features. So a
number r that is added to all weights w of one output changes nothing. If the normalisation adds 1
to every feature, then

    (x + 1) · (w + r) = x · w + sum(w) + features * r

and r = (bias - sum(w)) / features turns the last two terms into the bias of the projection.

Rounding errors grow, because the bias is now accumulated over all features. They stay below twice
the original error if the norm of the bias, over all outputs, is at most ``MAX_BIAS_RATIO`` times
the norm of the weights. Projections with larger biases are left as they are.

Some runtimes add a bias in an extra pass over memory, but add the 1 of a normalisation for free.
Every reader of the normalisation must be a linear layer. Operators that move elements or average
over positions may stand in between.
"""

import torch
from torch import Tensor
from torch.fx import Node

from slide_deploy.passes.report import PassReport
from slide_deploy.program.editing import Editor
from slide_deploy.program.projections import (
    Projection,
    UnreadableProjection,
    is_read_by,
    projection,
    projections_behind,
)
from slide_deploy.program.traced import Call, layer_of, shape

MAX_BIAS_RATIO = 2


def rewrite(editor: Editor, report: PassReport) -> None:
    """Absorb biases into weights."""
    for found in editor.calls("layer_norm"):
        arguments = found.arguments
        is_plain = arguments["weight"] is None and arguments["bias"] is None
        if not is_plain or len(arguments["normalized_shape"]) != 1:
            continue
        readers = _readers(editor, found.node)
        if not any(reader.bias is not None for reader in readers):
            continue
        if any(_is_large(reader) for reader in readers):
            reason = "the biases of the projections that read it are too large for their weights"
            report.refuse(layer_of(found.node), reason)
            continue
        for reader in readers:
            reader.rewritten(editor, _absorb_bias(reader), None)
        editor.replace(found.node, _adding_one(editor, found, readers[0].weight.dtype))
        report.change(
            layer_of(found.node),
            f"absorbed the bias of {len(readers)} projection{'s' if len(readers) > 1 else ''}",
        )


def _readers(editor: Editor, node: Node) -> list[Projection]:
    """The linear layers that read a normalisation; empty if anything else reads it."""
    try:
        nodes = projections_behind(editor, node, len(shape(node)) - 1)
    except UnreadableProjection:
        return []
    readers = [known for each in nodes if (known := projection(editor, each)) is not None]
    are_own = all(is_read_by(each.args[1], set(nodes)) for each in nodes)
    are_linear = len(readers) == len(nodes) and all(reader.is_linear for reader in readers)
    return readers if are_own and are_linear else []


def _is_large(reader: Projection) -> bool:
    """Whether absorbing the bias would increase the rounding error too much."""
    if reader.bias is None:
        return False
    return not bool(reader.bias.double().norm() <= MAX_BIAS_RATIO * reader.weight.double().norm())


def _absorb_bias(reader: Projection) -> Tensor:
    """The weight of a projection with its bias absorbed, in float64."""
    weight = reader.weight.double()
    rest = -weight.sum(1)
    if reader.bias is not None:
        rest += reader.bias.double()
    return weight + (rest / weight.shape[1])[:, None]


def _adding_one(editor: Editor, found: Call, dtype: torch.dtype) -> Node:
    ones = editor.constant(torch.ones(found.arguments["normalized_shape"], dtype=dtype), "ones")
    return editor.insert(
        found.node,
        found.node.target,
        found.node.args[0],
        list(found.arguments["normalized_shape"]),
        ones,
        ones,
        found.arguments["eps"],
    )
