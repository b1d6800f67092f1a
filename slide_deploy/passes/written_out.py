"""Write normalisations and softmaxes out in basic operators, for formats that lack them.

    layer_norm(x)    d = x - mean(x), y = d / sqrt(mean(d^2) + epsilon) * weight + bias
    softmax(x)       e = exp(x - max(x)), y = e / sum(e), along any axis but the last

Every mean, sum and maximum keeps its axis with size 1. Converters that decompose these operators
themselves drop the axis and restore it with a reshape in each step, and guard the maximum against
an empty axis with minus infinity. A softmax along the last axis is one operator in every format.
"""

from torch import ops
from torch.fx import Node

from slide_deploy.passes.report import PassReport
from slide_deploy.program.editing import Editor
from slide_deploy.program.traced import layer_of, shape

aten = ops.aten


def rewrite(editor: Editor, report: PassReport) -> None:
    """Write out normalisations and softmaxes."""
    for found in editor.calls("layer_norm"):
        axes = list(range(-len(found.arguments["normalized_shape"]), 0))
        given = (found.arguments.get(name) for name in ("weight", "bias"))
        epsilon = found.arguments.get("eps", 1e-5)
        written = _normalised(editor, found.node, found.arguments["input"], axes, epsilon)
        for operator, operand in zip((aten.mul.Tensor, aten.add.Tensor), given, strict=True):
            if operand is not None:
                written = editor.insert(found.node, operator, written, operand)
        editor.replace(found.node, written)
        report.change(layer_of(found.node), "a normalisation was written out")
    for found in editor.calls("softmax"):
        source, axis = found.arguments["self"], found.arguments["dim"]
        is_cast = found.arguments.get("dtype") is not None
        rank = len(shape(source))
        if is_cast or rank == 0 or axis % rank == rank - 1:
            continue
        editor.replace(found.node, _softmax(editor, found.node, source, axis))
        report.change(layer_of(found.node), "a softmax was written out")


def _normalised(editor: Editor, like: Node, source: Node, axes: list[int], epsilon: float) -> Node:
    mean = editor.insert(like, aten.mean.dim, source, axes, True)
    difference = editor.insert(like, aten.sub.Tensor, source, mean)
    square = editor.insert(like, aten.mul.Tensor, difference, difference)
    variance = editor.insert(like, aten.mean.dim, square, axes, True)
    variance = editor.insert(like, aten.add.Tensor, variance, epsilon)
    scale = editor.insert(like, aten.rsqrt.default, variance)
    return editor.insert(like, aten.mul.Tensor, difference, scale)


def _softmax(editor: Editor, like: Node, source: Node, axis: int) -> Node:
    highest = editor.insert(like, aten.amax.default, source, [axis], True)
    difference = editor.insert(like, aten.sub.Tensor, source, highest)
    power = editor.insert(like, aten.exp.default, difference)
    total = editor.insert(like, aten.sum.dim_IntList, power, [axis], True)
    return editor.insert(like, aten.div.Tensor, power, total)
