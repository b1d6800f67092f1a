"""The costs of a graph: operators, parameters, multiply-accumulates, largest activation, depth.

Multiply-accumulates at batch 1 of the dominant operators:

    convolution   elements of the result x inputs of a group x taps
    matmul        elements of the result x summed size
    attention     as one operator: the matmuls q k^T and softmax(q k^T) v

Elementwise operators, softmax and normalisation are not counted, as in the papers' tables.
"""

from collections import Counter
from dataclasses import dataclass

from slide_deploy.graph_checks.convolutions import convolution
from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Constant, Graph, Node, bits_of, elements_of, kind_of
from slide_deploy.graph_checks.in_floats import in_floats
from slide_deploy.graph_checks.matmuls import matmul
from slide_deploy.graph_checks.shapes import Known, at_batch_one

# Constants of these types are shapes, axes and indices, not weights.
_NO_WEIGHTS = frozenset(("int64", "int32", "bool", "string", "uint64", "uint32"))


@dataclass(frozen=True)
class Activation:
    """A tensor that exists while the graph runs: its shape at batch 1, its size in bytes."""

    name: str
    shape: tuple[int, ...]
    size: int


@dataclass(frozen=True)
class Inspection:
    """The costs of one graph.

    Attributes:
        operators: name and count of each operator, the most frequent first.
        parameters: number of stored weights; shapes and indices do not count.
        macs: multiply-accumulates at batch 1; None if any node is uncounted.
        counted_macs: multiply-accumulates of the counted nodes.
        uncounted: names of multiplying nodes whose sizes are open.
        largest: the largest activation; None if there is none, or if any is unsized.
        largest_known: the largest activation of known size.
        unsized: names of activations whose size is open.
        depth: number of operators on the longest path.
        file_bytes: size of all files together, in bytes.
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
    """Compute the costs of a graph."""
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
    """The number of stored weights; weights that share their bytes count once.

    A low-precision weight counts its elements; its scales and zero points do not count.
    """
    return sum(each.elements for each in in_floats(graph).stored if is_weight(each))


def traffic(graph: Graph) -> int | None:
    """The least memory traffic of one image in bytes: weights, inputs and outputs, each once.

    Activations are left out, because they may stay in caches. None if a size is open at batch 1 or
    a type has no known width.
    """
    weights = sum(each.size for each in graph.stored if is_weight(each))
    known = at_batch_one(graph)
    ends = (*graph.inputs, *graph.outputs)
    if any(value.name not in known or not bits_of(value.dtype) for value in ends):
        return None
    return weights + sum(_size(value.dtype, known[value.name]) for value in ends)


def is_weight(constant: Constant) -> bool:
    """Whether a constant holds weights, not a shape or indices."""
    return constant.dtype not in _NO_WEIGHTS


def depth(graph: Graph) -> int:
    """The number of operators on the longest path."""
    depths: dict[str, int] = {}
    for node in graph.order:
        steps = 1 + max((depths.get(name, 0) for name in node.inputs), default=0)
        depths.update(dict.fromkeys(node.outputs, steps))
    return max(depths.values(), default=0)


def file_bytes(graph: Graph) -> int:
    """Bytes of all files that belong to the model."""
    return sum(file.stat().st_size for file in graph.files)


def _macs(graph: Graph, node: Node, known: Known) -> int | None:
    """Multiply-accumulates of a node; 0 if it does not multiply, None if its sizes are open."""
    kind = kind_of(graph, node)
    if kind is Kind.CONVOLUTION:
        conv = convolution(graph, node)
        result = known.get(node.outputs[0]) if node.outputs else None
        return None if conv is None or result is None else elements_of(result) * conv.taps
    if kind in (Kind.MATMUL, Kind.LINEAR):
        sides = [known.get(name) for name in node.inputs[:2]]
        if len(sides) < 2 or sides[0] is None or sides[1] is None:
            return None
        found = matmul(graph, node, sides[0], sides[1])
        return None if found is None else elements_of(found[0]) * found[1]
    if kind is Kind.ATTENTION:
        return _attention_macs(node, known)
    return 0


def _attention_macs(node: Node, known: Known) -> int | None:
    """Of the matmuls (..., T, d) x (..., d, S) and (..., T, S) x (..., S, e)."""
    sides = [known.get(name, ()) for name in node.inputs[:3]]
    if len(sides) < 3 or min(map(len, sides)) < 3:
        return None
    q, k, v = sides
    return elements_of(q[:-1]) * k[-2] * (q[-1] + v[-1])


def _size(dtype: str, shape: tuple[int, ...]) -> int:
    return elements_of(shape) * bits_of(dtype) // 8
