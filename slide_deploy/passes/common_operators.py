"""Replace operators by equivalents that every converter supports.

adaptive average pooling to one position    becomes a mean, which is not decomposed further. Torch
                                            decomposes adaptive pooling into a mean and a change of
                                            strides, which becomes a gather with an index table
pooling without strides                     gets its default strides, the kernel size
"""

from torch import Tensor, ops
from torch.fx import Node

from slide_deploy.passes.report import PassReport
from slide_deploy.program.editing import Editor
from slide_deploy.program.traced import layer_of

_ADAPTIVE = {
    ops.aten.adaptive_avg_pool1d.default: 1,
    ops.aten.adaptive_avg_pool2d.default: 2,
    ops.aten.adaptive_avg_pool3d.default: 3,
}
_POOLS = {
    *(ops.aten.max_pool1d.default, ops.aten.max_pool2d.default, ops.aten.max_pool3d.default),
    *(ops.aten.avg_pool1d.default, ops.aten.avg_pool2d.default, ops.aten.avg_pool3d.default),
}
_STRIDES = 2  # position of the strides among the arguments


def rewrite(editor: Editor, report: PassReport) -> None:
    """Replace operators that converters do not support."""
    for node in list(editor.program.graph.nodes):
        if node.target in _ADAPTIVE:
            _as_mean(editor, report, node, _ADAPTIVE[node.target])
        elif node.target in _POOLS:
            _with_strides(report, node)


def _as_mean(editor: Editor, report: PassReport, node: Node, axes: int) -> None:
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or any(size != 1 for size in value.shape[-axes:]):
        return
    mean = editor.insert(node, ops.aten.mean.dim, node.args[0], list(range(-axes, 0)), True)
    editor.replace(node, mean)
    report.change(layer_of(node), "adaptive average pooling became a mean")


def _with_strides(report: PassReport, node: Node) -> None:
    given = node.args[_STRIDES] if len(node.args) > _STRIDES else node.kwargs.get("stride")
    if given or "stride" in node.kwargs:
        return
    node.args = (*node.args[:_STRIDES], node.args[1], *node.args[_STRIDES + 1 :])
    report.change(layer_of(node), "pooling got its default strides as an argument")
