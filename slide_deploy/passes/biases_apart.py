"""Split a matmul of tokens with a bias into a matmul and an addition.

    linear(x, w, b) = linear(x, w) + b        b has the rank of x, which is at least three

ONNX Runtime fuses a matmul with a bias vector that is added to it. The fused operator first copies
the vector into every row of the result, on one thread, and multiplies afterwards. A bias that has
the rank of the tokens is not fused, and all threads add it.
"""

from torch import ops
from torch.fx import Node

from slide_deploy.passes.report import PassReport
from slide_deploy.program.editing import Editor
from slide_deploy.program.traced import layer_of, shape


def rewrite(editor: Editor, report: PassReport) -> None:
    """Split biases off linear layers."""
    aten = ops.aten
    biases: dict[tuple[object, int], Node] = {}
    for found in editor.calls("linear"):
        node, rank = found.node, len(shape(found.node))
        bias = editor.weight(found.arguments["bias"])
        if bias is None or rank < 3:
            continue
        source, weight = (found.arguments[name] for name in ("input", "weight"))
        key = (found.arguments["bias"], rank)
        if key not in biases:
            biases[key] = editor.constant(bias.reshape(*[1] * (rank - 1), -1), "bias")
        matmul = editor.insert(node, aten.linear.default, source, weight)
        editor.replace(node, editor.insert(node, aten.add.Tensor, matmul, biases[key]))
        report.change(layer_of(node), "its bias became an addition of its own")
