"""Geometry of the operators that mix channels by weights.

Geometry survives a conversion and names do not: converters rename and reorder operators and fold
normalisations into weights and biases. The exporters count the geometries in the traced program
(see ``census``), and rules count them in the file. Zeros from a separate padding operator count as
padding of the convolution that reads them, because converters merge and split the two.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from slide_deploy.graph_checks.convolutions import Convolution, convolution, transposed_convolution
from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Graph, Node, kind_of
from slide_deploy.graph_checks.graph_walks import constant_values, without_bias
from slide_deploy.graph_checks.matmuls import stored_transposed
from slide_deploy.graph_checks.padding import zeros_around

Pads = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class MixingGeometry:
    """The geometry of an operator that mixes channels by weights.

    Attributes:
        groups: number of groups; 1 for a matmul.
        inputs: input channels of one group.
        outputs: output channels of one group.
        kernel: kernel sizes; () for a matmul, and so are pads, strides and dilations.
        pads: zeros before and after each axis, including those of a separate padding operator; ()
            if they are unknown, and for a transposed convolution.
        strides: stride along each axis.
        dilations: dilation along each axis; 1 along an axis with a single tap.
        transposed: whether it is a transposed convolution.
    """

    groups: int
    inputs: int
    outputs: int
    kernel: tuple[int, ...] = ()
    pads: Pads = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    transposed: bool = False

    def __post_init__(self) -> None:
        dilations = (
            step if taps > 1 else 1 for step, taps in zip(self.dilations, self.kernel, strict=True)
        )
        object.__setattr__(self, "dilations", tuple(dilations))

    @property
    def is_grouped(self) -> bool:
        """Whether it has several groups."""
        return self.groups > 1

    def __str__(self) -> str:
        if not self.kernel:
            return f"matmuls {self.inputs} -> {self.outputs}"
        text = "transposed convolutions" if self.transposed else "convolutions"
        if self.is_grouped:
            text += f" of groups {self.groups}, {self.inputs} -> {self.outputs} a group"
        else:
            text += f" {self.inputs} -> {self.outputs}"
        text += f", kernel {'x'.join(map(str, self.kernel))}"
        pads = {pad for pair in self.pads for pad in pair}
        if pads - {0}:
            text += f", padding {pads.pop() if len(pads) == 1 else self.pads}"
        for name, steps in (("stride", self.strides), ("dilation", self.dilations)):
            if set(steps) != {1}:
                text += f", {name} {'x'.join(map(str, steps))}"
        return text


def mixings(graph: Graph) -> Iterator[tuple[Node, MixingGeometry]]:
    """Yield every operator that mixes channels by weights, in the order of the file.

    Operators on constants alone are left out, because only some converters fold them.
    """
    constant = constant_values(graph)
    for node in graph.nodes:
        if node.outputs and constant.issuperset(node.outputs):
            continue
        found = convolution(graph, node) or transposed_convolution(graph, node)
        kind = _of_convolution(graph, found) if found else _of_matmul(graph, node, constant)
        if kind is not None:
            yield node, kind


def branched_pairs(
    graph: Graph, present: list[tuple[Node, MixingGeometry]]
) -> Iterator[tuple[Node, Node, Node]]:
    """Yield each sum of two grouped convolutions of one geometry that read one value, and the two.

    ``present`` are the ``mixings`` of the graph.
    """
    grouped: Mapping[str, tuple[Node, MixingGeometry]] = {
        node.outputs[0]: (node, kind) for node, kind in present if kind.is_grouped and node.outputs
    }
    for node in graph.nodes if grouped else ():
        if kind_of(graph, node) is not Kind.ADD or len(node.inputs) != 2:
            continue
        pair = [grouped.get(without_bias(graph, name)) for name in node.inputs]
        if pair[0] is None or pair[1] is None or pair[0] is pair[1]:
            continue
        (first, kind), (second, other) = pair[0], pair[1]
        if kind == other and first.inputs[0] == second.inputs[0]:
            yield node, first, second


def _of_convolution(graph: Graph, found: Convolution) -> MixingGeometry:
    pads, operator = found.pads, found.node.operator
    if pads is not None:
        zeros = zeros_around(graph, found.node.inputs[0])
        if zeros is not None and operator in graph.dialect.channels_last:
            zeros = (zeros[0], *zeros[-1:], *zeros[1:-1])
        pads = total_padding(pads, zeros)
    return MixingGeometry(
        found.groups,
        found.inputs_per_group,
        found.outputs_per_group,
        found.kernel,
        pads or (),
        found.strides,
        found.dilations,
        transposed=operator in graph.dialect.transposed_convolutions,
    )


def total_padding(pads: Pads, zeros: Pads | None) -> Pads:
    """The padding of a convolution's spatial axes plus that of the padding operator before it.

    The operator has zeros for batch and channels too; None stands for no operator.
    """
    if zeros is None or len(zeros) != len(pads) + 2 or any(map(any, zeros[:2])):
        return pads
    sides = zip(pads, zeros[2:], strict=True)
    return tuple((pad[0] + more[0], pad[1] + more[1]) for pad, more in sides)


def _before_expansion(graph: Graph, name: str) -> str:
    """The value that an expand repeats; some converters expand weights to an open batch."""
    producer = graph.producers.get(name)
    if producer is None or kind_of(graph, producer) is not Kind.EXPAND or not producer.inputs:
        return name
    return producer.inputs[0]


def _of_matmul(graph: Graph, node: Node, constant: frozenset[str]) -> MixingGeometry | None:
    """The geometry of a matmul with one constant matrix; None for any other node."""
    if kind_of(graph, node) not in (Kind.MATMUL, Kind.LINEAR) or len(node.inputs) < 2:
        return None
    for side, name in enumerate(node.inputs[:2]):
        name = _before_expansion(graph, name)
        shape = graph.shape(name) or ()
        matrix = [size for size in shape[-2:] if isinstance(size, int)]
        if name in constant and len(matrix) == 2 and set(shape[:-2]) <= {1}:
            # Inputs are the rows of a matrix on the right, and the columns of one on the left.
            is_turned = stored_transposed(graph, node)[side] != (side == 0)
            inputs, outputs = reversed(matrix) if is_turned else matrix
            return MixingGeometry(1, inputs, outputs)
    return None
