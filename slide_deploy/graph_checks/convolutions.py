"""Convolutions in one shape, whatever the format calls groups, weights and padding.

Formats differ in these things, which their ``Dialect`` tells::

    weight  most                               (outputs, inputs / groups, k, k)
            those with groups of their own     (groups, outputs / groups, inputs / groups, k, k)
            those with axes of their own       (outputs, k, k, inputs / groups) for example
    maps    (batch, channels, height, width) or (batch, height, width, channels)
    pads    (begin, begin, end, end), (begin, end, begin, end), or two lists
"""

from collections.abc import Iterator
from dataclasses import dataclass

from slide_deploy.graph_checks.dialect import Dialect
from slide_deploy.graph_checks.graph import Graph, Node
from slide_deploy.graph_checks.kinds import Kind, kind_of

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Convolution:
    """What a convolution does to shapes.

    Attributes:
        node: where it is in the graph.
        groups: how many independent parts it has.
        inputs_per_group: channels that one part reads.
        outputs: channels of its result.
        kernel: sizes of the neighbourhood; strides and dilations have as many.
        pads: zeros before and behind each spatial axis; None where they depend on the input.
        strides: steps.
        dilations: distances between taps.
    """

    node: Node
    groups: int
    inputs_per_group: int
    outputs: int
    kernel: Sizes
    strides: Sizes
    dilations: Sizes
    pads: tuple[tuple[int, int], ...] | None

    @property
    def taps(self) -> int:
        """Multiplications for one element of the result."""
        product = self.inputs_per_group
        for size in self.kernel:
            product *= size
        return product

    @property
    def outputs_per_group(self) -> int:
        """Channels that one part computes."""
        return self.outputs // self.groups

    def spatial(self, sizes: Sizes) -> Sizes:
        """Height and width of the result from those of the input."""
        if self.pads is None:
            return tuple(-(-size // step) for size, step in zip(sizes, self.strides, strict=True))
        axes = zip(sizes, self.kernel, self.strides, self.dilations, self.pads, strict=True)
        return tuple(
            (size + sum(pad) - dilation * (k - 1) - 1) // step + 1
            for size, k, step, dilation, pad in axes
        )


def convolutions(graph: Graph) -> Iterator[Convolution]:
    """Every convolution of a graph that can be understood, in the order of the file."""
    for node in graph.nodes:
        found = convolution(graph, node)
        if found is not None:
            yield found


def convolution(graph: Graph, node: Node) -> Convolution | None:
    """A node as a convolution; None if it is none or contradicts itself."""
    if kind_of(graph, node) is not Kind.CONVOLUTION or len(node.inputs) < 2:
        return None
    weight = graph.shape(node.inputs[1]) or ()
    sizes = tuple(size for size in weight if isinstance(size, int))
    grouped = node.operator in graph.dialect.grouped
    if len(sizes) != len(weight) or len(sizes) < 3 + grouped:
        return None
    if grouped:
        groups, outputs, inputs, *kernel = sizes
        outputs *= groups
    else:
        groups = (node.integers(graph.dialect.groups) or (1,))[0]
        outputs, inputs, *kernel = in_common_order(graph.dialect, node, sizes)
    axes = len(kernel)
    strides = node.integers("strides") or (1,) * axes
    dilations = node.integers("dilations") or (1,) * axes
    if groups < 1 or min(*kernel, *strides, *dilations, outputs) < 1:
        return None
    if len(strides) != axes or len(dilations) != axes or outputs % groups:
        return None
    pads = _pads(graph.dialect, node, tuple(kernel), strides, dilations)
    if pads is not None and len(pads) != axes:
        return None
    return Convolution(node, groups, inputs, outputs, tuple(kernel), strides, dilations, pads)


def in_common_order(dialect: Dialect, node: Node, sizes: Sizes) -> Sizes:
    """The sizes of a weight, those of the kernel last, where its operator has an order of its own.

    Of outputs and inputs the one comes first that does without such an order.
    """
    letters = dialect.weight_axes.get(node.operator, "")
    if len(letters) != len(sizes):
        return sizes
    first = "io" if node.operator in dialect.transposed_convolutions else "oi"
    by_letter = dict(zip(letters, sizes, strict=True))
    return tuple(by_letter.pop(letter) for letter in first) + tuple(by_letter.values())


def _pads(
    dialect: Dialect, node: Node, kernel: Sizes, strides: Sizes, dilations: Sizes
) -> tuple[tuple[int, int], ...] | None:
    mode = str(node.attributes.get(dialect.pad_mode, "")).lower()
    axes = len(kernel)
    if mode == "valid":
        return ((0, 0),) * axes
    if mode.startswith("same"):
        if any(step != 1 for step in strides):
            return None
        totals = [dilation * (k - 1) for k, dilation in zip(kernel, dilations, strict=True)]
        less_first = mode != "same_lower"
        return tuple(
            (total // 2, total - total // 2) if less_first else (total - total // 2, total // 2)
            for total in totals
        )
    held = [node.integers(name) for name in dialect.pads]
    lists = [each for each in held if each]
    if not lists or len(lists) < len(held):  # no padding is stated
        return ((0, 0),) * axes
    if len(lists) == 2:
        begin, end = lists
    elif dialect.pads_by_axis:
        begin, end = lists[0][::2], lists[0][1::2]
    else:
        begin, end = lists[0][:axes], lists[0][axes:]
    return tuple(zip(begin, end, strict=False))
