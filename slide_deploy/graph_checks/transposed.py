"""Transposed convolutions in one shape, whatever the format calls groups, weights and padding.

The formats differ in the order of a weight::

    ONNX, Core ML, OpenVINO's ConvolutionBackpropData  (inputs, outputs / groups, k, k)
    OpenVINO's GroupConvolutionBackpropData  (groups, inputs / groups, outputs / groups, k, k)
    those with axes of their own  (outputs, k, k, inputs) for example

What is cut off from the result is not read: some converters write it as an operator of its own, and
the size of the result tells it.
"""

from slide_deploy.graph_checks.convolutions import Convolution, in_common_order
from slide_deploy.graph_checks.graph import Graph, Node


def transposed_convolution(graph: Graph, node: Node) -> Convolution | None:
    """A node as a transposed convolution; None if it is none or contradicts itself."""
    if node.operator not in graph.dialect.transposed_convolutions or len(node.inputs) < 2:
        return None
    weight = graph.shape(node.inputs[1]) or ()
    sizes = tuple(size for size in weight if isinstance(size, int))
    is_grouped = node.operator in graph.dialect.grouped
    if len(sizes) != len(weight) or len(sizes) < 3 + is_grouped or min(sizes) < 1:
        return None
    if is_grouped:
        groups, inputs, outputs, *kernel = sizes
    else:
        groups = (node.integers(graph.dialect.groups) or (1,))[0]
        inputs, outputs, *kernel = in_common_order(graph.dialect, node, sizes)
        if groups < 1 or inputs % groups:
            return None
        inputs //= groups
    axes = len(kernel)
    strides = node.integers("strides") or (1,) * axes
    dilations = node.integers("dilations") or (1,) * axes
    if len(strides) != axes or len(dilations) != axes:
        return None
    return Convolution(
        node, groups, inputs, outputs * groups, tuple(kernel), strides, dilations, pads=None
    )
