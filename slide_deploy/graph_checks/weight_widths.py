"""The stored width of each convolution's and matmul's weight."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Graph, Node, kind_of
from slide_deploy.graph_checks.graph_walks import LONGEST_WALK
from slide_deploy.graph_checks.stored_weights import StoredWeight, bits_as_weight, stored_weights

_WEIGHTED = (Kind.CONVOLUTION, Kind.MATMUL, Kind.LINEAR)
_PASSED = (Kind.CAST, Kind.RESHAPE, Kind.TRANSPOSE, Kind.EXPAND)


@dataclass(frozen=True)
class Width:
    """How one operator's weight is stored.

    Attributes:
        node: the operator.
        bits: width of a stored number; 32 means 32 or more.
        is_palette: whether the stored numbers are indices into a palette.
        dtype: type of the stored numbers.
    """

    node: Node
    bits: int
    is_palette: bool
    dtype: str


def weight_widths(graph: Graph) -> tuple[Width, ...]:
    """The stored width for every convolution and matmul with a constant weight."""
    stored = stored_weights(graph)
    return tuple(filter(None, (_width(graph, node, stored) for node in graph.nodes)))


def float_operators(graph: Graph) -> tuple[str, ...]:
    """The names of the operators whose weights are floats, in the order of the file."""
    return tuple(width.node.name for width in weight_widths(graph) if width.bits > 8)


def _width(graph: Graph, node: Node, stored: Mapping[str, StoredWeight]) -> Width | None:
    transposed = node.operator in graph.dialect.transposed_convolutions
    kind = kind_of(graph, node)
    if (kind not in _WEIGHTED and not transposed) or len(node.inputs) < 2:
        return None
    # A matmul may have its weight on either side.
    sides = (node.inputs[1], node.inputs[0]) if kind is Kind.MATMUL else (node.inputs[1],)
    found = [held for side in sides for held in _held(graph, node, side, stored)]
    # An operator on constants alone does not count: only some converters fold it.
    return found[0] if len(found) == 1 else None


def _held(
    graph: Graph, node: Node, name: str, stored: Mapping[str, StoredWeight]
) -> Iterator[Width]:
    """Yield the weight behind a value, past casts and shape operators, if there is one."""
    for _ in range(LONGEST_WALK):
        if name in stored:
            weight = stored[name]
            yield Width(node, weight.bits, weight.palette is not None, weight.data.dtype)
            return
        if name in graph.constants:
            dtype = graph.constants[name].dtype
            yield Width(node, min(bits_as_weight(dtype), 32), False, dtype)
            return
        producer = graph.producers.get(name)
        if producer is None or not producer.inputs or kind_of(graph, producer) not in _PASSED:
            return
        name = producer.inputs[0]
