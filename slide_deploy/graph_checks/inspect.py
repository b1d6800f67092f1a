"""What a graph costs: operators, parameters, multiply-accumulates, the largest activation, depth.

Multiply-accumulates, at batch 1, of the operators that dominate:

    convolution      elements of the result x inputs of a group x taps
    matrix product   elements of the result x summed size
    attention        as one operator: q k^T and its product with v

Elementwise work, softmax and normalisation are not counted, as in the papers' tables.
"""

from collections import Counter
from dataclasses import dataclass

from slide_deploy.graph_checks.convolutions import convolution
from slide_deploy.graph_checks.graph import Constant, Graph, Node, elements_of
from slide_deploy.graph_checks.in_floats import in_floats
from slide_deploy.graph_checks.kinds import Kind, kind_of
from slide_deploy.graph_checks.matmuls import product
from slide_deploy.graph_checks.shapes import Known, at_batch_one

# Whole numbers of these types are shapes, axes and indices, not weights.
_STEERING = frozenset(("int64", "int32", "bool", "string", "uint64", "uint32"))
_BITS = {
    **{"float64": 64, "int64": 64, "uint64": 64, "float32": 32, "int32": 32, "uint32": 32},
    **{"float16": 16, "bfloat16": 16, "int16": 16, "uint16": 16},
    **{"int8": 8, "uint8": 8, "bool": 8, "int4": 4, "uint4": 4},
}


@dataclass(frozen=True)
class Activation:
    """A tensor that exists while the graph runs.

    Attributes:
        name: of the value.
        shape: at batch 1.
        size: in bytes.
    """

    name: str
    shape: tuple[int, ...]
    size: int


@dataclass(frozen=True)
class Inspection:
    """The costs of one graph.

    Attributes:
        operators: how often each occurs, the most frequent first.
        parameters: numbers that the file holds as weights; shapes and indices are none.
        macs: multiply-accumulates at batch 1; None if some are uncounted.
        counted_macs: those of all other nodes.
        uncounted: nodes that multiply and whose sizes the file leaves open.
        largest: the largest activation; None if there is none, or some are unsized.
        largest_known: the largest of all others.
        unsized: activations whose size the file leaves open.
        depth: operators on the longest path from an input to an output.
        file_bytes: all files together.
    """

    operators: tuple[tuple[str, int], ...]
    parameters: int
    macs: int | None
    counted_macs: int
    uncounted: tuple[str, ...]
    largest: Activation | None
    largest_known: Activation | None
    unsized: tuple[str, ...]
    depth: int
    file_bytes: int


def inspect(graph: Graph) -> Inspection:
    """Count what a graph costs."""
    known = at_batch_one(graph)
    counted = {node.name: _macs(graph, node, known) for node in graph.nodes}
    macs = sum(count for count in counted.values() if count is not None)
    uncounted = tuple(name for name, count in counted.items() if count is None)
    computed = [name for node in graph.nodes for name in node.outputs if name]
    activations = [
        Activation(name, known[name], _size(graph.values[name].dtype, known[name]))
        for name in computed
        if name in known and name in graph.values
    ]
    largest = max(activations, key=lambda activation: activation.size, default=None)
    unsized = tuple(name for name in computed if name not in known)
    return Inspection(
        operators=tuple(Counter(node.operator for node in graph.nodes).most_common()),
        parameters=parameters(graph),
        macs=None if uncounted else macs,
        counted_macs=macs,
        uncounted=uncounted,
        largest=None if unsized else largest,
        largest_known=largest,
        unsized=unsized,
        depth=depth(graph),
        file_bytes=file_bytes(graph),
    )


def parameters(graph: Graph) -> int:
    """Numbers that the file holds as weights, each stored number once.

    A weight of low precision counts as its floats do, and its scales and zero points do not.
    """
    stored = {
        constant.source: constant.elements
        for constant in in_floats(graph).constants.values()
        if is_weight(constant)
    }
    return sum(stored.values())


def traffic(graph: Graph) -> int | None:
    """Bytes that one image must move at the very least: weights, inputs, outputs, each once.

    Activations are left out: they may stay in caches. None where a size is open at batch 1 or a
    type has no size.
    """
    weights = {
        constant.source: constant.size
        for constant in graph.constants.values()
        if is_weight(constant)
    }
    known = at_batch_one(graph)
    ends = (*graph.inputs, *graph.outputs)
    if any(value.name not in known or value.dtype not in _BITS for value in ends):
        return None
    moved = sum(_size(value.dtype, known[value.name]) for value in ends)
    return sum(weights.values()) + moved


def is_weight(constant: Constant) -> bool:
    """Whether a constant is one of the numbers that training found, not a shape or an index."""
    return constant.dtype not in _STEERING


def depth(graph: Graph) -> int:
    """Operators on the longest path."""
    behind: dict[str, int] = {}
    for node in graph.order:
        steps = 1 + max((behind.get(name, 0) for name in node.inputs), default=0)
        behind.update(dict.fromkeys(node.outputs, steps))
    return max(behind.values(), default=0)


def file_bytes(graph: Graph) -> int:
    """Bytes of all files that belong to the model."""
    return sum(file.stat().st_size for file in graph.files)


def _macs(graph: Graph, node: Node, known: Known) -> int | None:
    """Multiply-accumulates of a node, 0 if it does not multiply; None if its sizes are open."""
    kind = kind_of(graph, node)
    if kind is Kind.CONVOLUTION:
        found = convolution(graph, node)
        result = known.get(node.outputs[0]) if node.outputs else None
        return None if found is None or result is None else elements_of(result) * found.taps
    if kind in (Kind.MATMUL, Kind.LINEAR):
        sides = [known.get(name) for name in node.inputs[:2]]
        if len(sides) < 2 or sides[0] is None or sides[1] is None:
            return None
        multiplied = product(graph, node, sides[0], sides[1])
        return None if multiplied is None else elements_of(multiplied.shape) * multiplied.summed
    if kind is Kind.ATTENTION:
        return _attention_macs(node, known)
    return 0


def _attention_macs(node: Node, known: Known) -> int | None:
    """The product q k^T is (..., T, d) x (..., d, S), that with v (..., T, S) x (..., S, e)."""
    sides = [known.get(name, ()) for name in node.inputs[:3]]
    if len(sides) < 3 or min(map(len, sides)) < 3:
        return None
    q, k, v = sides
    return elements_of(q[:-1]) * k[-2] * (q[-1] + v[-1])


def _size(dtype: str, shape: tuple[int, ...]) -> int:
    return elements_of(shape) * _BITS.get(dtype, 0) // 8
