"""A product of tokens and its bias as two operators.

    linear(x, w, b) = linear(x, w) + b        b of the rank of x, which has three axes or more

ONNX Runtime makes one operator of a product and a vector that is added to it. That one first copies
the vector into every row of the result, on one thread, before it multiplies. A bias of the rank of
the tokens is left alone and added by all threads.
"""

from torch import ops
from torch.fx import Node

from slide_deploy.passes.report import PassReport
from slide_deploy.program.editing import Editor
from slide_deploy.program.traced import layer_of, shape


def rewrite(editor: Editor, report: PassReport) -> None:
    """Add biases apart; see above."""
    aten = ops.aten
    apart: dict[tuple[object, int], Node] = {}
    for found in editor.calls("linear"):
        node, rank = found.node, len(shape(found.node))
        bias = editor.weight(found.arguments["bias"])
        if bias is None or rank < 3:
            continue
        source, weight = (found.arguments[name] for name in ("input", "weight"))
        key = (found.arguments["bias"], rank)
        if key not in apart:
            apart[key] = editor.constant(bias.reshape(*[1] * (rank - 1), -1), "bias")
        product = editor.insert(node, aten.linear.default, source, weight)
        editor.replace(node, editor.insert(node, aten.add.Tensor, product, apart[key]))
        report.change(layer_of(node), "its bias is added apart")
