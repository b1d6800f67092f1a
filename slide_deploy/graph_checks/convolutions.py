"""Convolutions and transposed convolutions in one form for all formats.

Formats differ in the following, which their ``Dialect`` describes::

    weight  of most operators           (outputs, inputs / groups, k, k)
            with a groups axis          (groups, outputs / groups, inputs / groups, k, k)
            in the dialect's own order  (outputs, k, k, inputs / groups) for example
    maps    (batch, channels, height, width) or (batch, height, width, channels)
    pads    (begin, begin, end, end), (begin, end, begin, end), or two lists

Weights of transposed convolutions::

    of most operators           (inputs, outputs / groups, k, k)
    with a groups axis          (groups, inputs / groups, outputs / groups, k, k)
    in the dialect's own order  (outputs, k, k, inputs) for example

Cropping of a transposed convolution's result is not read: some converters write it as a separate
operator, and the size of the result shows it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from slide_deploy.graph_checks.dialect import Dialect, Kind
from slide_deploy.graph_checks.graph import Graph, Node, elements_of, fixed, kind_of

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Convolution:
    """The geometry of a convolution.

    Attributes:
        node: its node in the graph.
        groups: number of groups.
        inputs_per_group: input channels of one group.
        outputs: output channels of all groups.
        kernel: kernel size along each spatial axis; strides and dilations have as many entries.
        strides: stride along each spatial axis.
        dilations: dilation along each spatial axis.
        pads: zeros before and after each spatial axis; None if they depend on the input.
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
        return self.inputs_per_group * elements_of(self.kernel)

    @property
    def outputs_per_group(self) -> int:
        """Output channels of one group."""
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
    """Yield every valid convolution of a graph, in the order of the file."""
    for node in graph.nodes:
        found = convolution(graph, node)
        if found is not None:
            yield found


def convolution(graph: Graph, node: Node) -> Convolution | None:
    """A node as a convolution; None if it is none or is invalid."""
    if kind_of(graph, node) is not Kind.CONVOLUTION:
        return None
    found = _geometry(graph, node)
    if found is None:
        return None
    groups, outputs, inputs, kernel, strides, dilations = found
    pads = _pads(graph.dialect, node, kernel, strides, dilations)
    if pads is not None and len(pads) != len(kernel):
        return None
    return Convolution(node, groups, inputs, outputs * groups, kernel, strides, dilations, pads)


def transposed_convolution(graph: Graph, node: Node) -> Convolution | None:
    """A node as a transposed convolution without pads; None if it is none or is invalid."""
    if node.operator not in graph.dialect.transposed_convolutions:
        return None
    found = _geometry(graph, node)
    if found is None:
        return None
    groups, inputs, outputs, kernel, strides, dilations = found
    return Convolution(node, groups, inputs, outputs * groups, kernel, strides, dilations, None)


def _geometry(graph: Graph, node: Node) -> tuple[int, int, int, Sizes, Sizes, Sizes] | None:
    """Groups, both channels of one group as the weight has them, kernel, strides, dilations."""
    sizes = fixed(graph.shape(node.inputs[1])) if len(node.inputs) > 1 else None
    is_grouped = node.operator in graph.dialect.grouped
    if sizes is None or len(sizes) < 3 + is_grouped:
        return None
    if is_grouped:
        groups, first, second, *kernel = sizes
    else:
        groups = (node.integers(graph.dialect.groups) or (1,))[0]
        first, second, *kernel = _in_common_order(graph.dialect, node, sizes)
        if groups < 1 or first % groups:
            return None
        first //= groups
    strides = node.integers("strides") or (1,) * len(kernel)
    dilations = node.integers("dilations") or (1,) * len(kernel)
    if not len(strides) == len(dilations) == len(kernel):
        return None
    if min(groups, first, second, *kernel, *strides, *dilations) < 1:
        return None
    return groups, first, second, tuple(kernel), strides, dilations


def _in_common_order(dialect: Dialect, node: Node, sizes: Sizes) -> Sizes:
    """The sizes of a weight with the kernel last, undoing the operator's own axis order.

    Inputs come before outputs for a transposed convolution, after them otherwise.
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
