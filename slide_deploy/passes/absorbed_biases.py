"""Biases of projections in their weights, behind a normalisation that adds 1.

A layer normalisation without weight and bias answers x, which sums to zero over its features. So a
number r that is added to all weights w of an output changes nothing; and where the normalisation
adds 1 to every feature,

    (x + 1) · (w + r) = x · w + sum(w) + features * r

the number becomes a bias. r = (bias - sum(w)) / features makes it the bias of the projection. As
the bias is then summed up in as many steps as there are features, rounding leaves more of it: less
than twice as much as before where biases are at most ``MOST_BIAS`` times as large as weights are
together, root mean squares of all outputs. Projections of larger biases are left as they are.

Some runtimes add biases in passes of their own, and the 1 of a normalisation for nothing. All who
read the normalisation must be linear layers; between may stand what moves elements or takes means
over positions.
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

MOST_BIAS = 2


def rewrite(editor: Editor, report: PassReport) -> None:
    """Move biases into weights; see above."""
    for found in editor.calls("layer_norm"):
        arguments = found.arguments
        is_plain = arguments["weight"] is None and arguments["bias"] is None
        if not is_plain or len(arguments["normalized_shape"]) != 1:
            continue
        readers = _readers(editor, found.node)
        if not any(reader.bias is not None for reader in readers):
            continue
        if any(_is_large(reader) for reader in readers):
            report.refuse(layer_of(found.node), "biases behind it are large beside the weights")
            continue
        for reader in readers:
            reader.rewritten(editor, _absorbed(reader), None)
        editor.replace(found.node, _adding_one(editor, found, readers[0].weight.dtype))
        report.change(
            layer_of(found.node),
            f"took the bias of {len(readers)} projection{'s' if len(readers) > 1 else ''}",
        )


def _readers(editor: Editor, node: Node) -> list[Projection]:
    """The linear layers that read a normalisation; none if somebody else reads it."""
    try:
        nodes = projections_behind(editor, node, len(shape(node)) - 1)
    except UnreadableProjection:
        return []
    readers = [known for each in nodes if (known := projection(editor, each)) is not None]
    are_own = all(is_read_by(each.args[1], set(nodes)) for each in nodes)
    are_linear = len(readers) == len(nodes) and all(reader.is_linear for reader in readers)
    return readers if are_own and are_linear else []


def _is_large(reader: Projection) -> bool:
    """Whether rounding would grow with the bias."""
    if reader.bias is None:
        return False
    return not bool(reader.bias.double().norm() <= MOST_BIAS * reader.weight.double().norm())


def _absorbed(reader: Projection) -> Tensor:
    """The weight of a projection in float64, its bias in it."""
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
