"""Shape inference at batch 1.

In a file with an open batch, sizes are open all through the graph. With a batch of 1 they follow
operator by operator:

    reshape               keeps the number of elements
    transpose             permutes the sizes
    elementwise           broadcasts
    convolution, matmul   by their formulas
    others                an open first size is that of the first input
"""

from collections.abc import Mapping

from slide_deploy.graph_checks.convolutions import convolution
from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import (
    Graph,
    Node,
    Shape,
    batch_one,
    elements_of,
    fixed,
    kind_of,
)
from slide_deploy.graph_checks.matmuls import broadcast, matmul

Sizes = tuple[int, ...]
Known = Mapping[str, Sizes]
"""Sizes by the name of the value."""

_FIRST_INPUT = (Kind.SAME_SHAPE, Kind.SOFTMAX, Kind.CAST)
_ELEMENTWISE = (Kind.ADD, Kind.MULTIPLY, Kind.BROADCAST)


def at_batch_one(graph: Graph) -> dict[str, Sizes]:
    """The sizes of every value at batch 1, by name; values whose sizes stay open are absent."""
    known: dict[str, Sizes] = {name: constant.shape for name, constant in graph.constants.items()}
    for value in graph.inputs:
        sizes = None if value.shape is None else fixed(batch_one(value.shape))
        if sizes is not None:
            known[value.name] = sizes
    for node in graph.order:
        for index, name in enumerate(node.outputs):
            shape = graph.shape(name)
            sizes = fixed(shape) or fixed(_closed(graph, node, known, shape, first=index == 0))
            if sizes is not None:
                known[name] = sizes
    return known


def computed(graph: Graph, node: Node, known: Known) -> Sizes | None:
    """The shape of a node's output, inferred from its inputs; None if it cannot be inferred."""
    kind = kind_of(graph, node)
    inputs = [known[name] for name in node.inputs if name in known]
    if not inputs or len(node.outputs) != 1 or len(inputs) != sum(map(bool, node.inputs)):
        return None
    if kind in _FIRST_INPUT:
        return inputs[0]
    if kind in _ELEMENTWISE:
        return broadcast(tuple(inputs))
    if kind is Kind.TRANSPOSE:
        permutation = permutation_of(graph, node)
        if permutation is None or sorted(permutation) != list(range(len(inputs[0]))):
            return None
        return tuple(inputs[0][axis] for axis in permutation)
    if kind is Kind.CONVOLUTION:
        return _convolved(graph, node, inputs[0])
    if kind in (Kind.MATMUL, Kind.LINEAR) and len(inputs) >= 2:
        found = matmul(graph, node, inputs[0], inputs[1])
        return None if found is None else found[0]
    return None


def misfit(graph: Graph, node: Node, known: Known) -> str:
    """Why the operands of a convolution or matmul do not fit together; empty if they do."""
    kind = kind_of(graph, node)
    if kind not in (Kind.CONVOLUTION, Kind.MATMUL, Kind.LINEAR):
        return ""
    sides = [known[name] for name in node.inputs[:2] if name in known]
    if len(sides) < 2 or min(map(len, sides)) < 2:
        return ""
    if kind is not Kind.CONVOLUTION:
        fits = matmul(graph, node, sides[0], sides[1]) is not None
        return "" if fits else f"Multiplies {sides[0]} by {sides[1]}, which do not fit together."
    found = convolution(graph, node)
    channels = sides[0][-1 if node.operator in graph.dialect.channels_last else 1]
    if found is None or found.groups * found.inputs_per_group == channels:
        return ""
    return f"Requires {found.groups * found.inputs_per_group} channels and reads {channels}."


def permutation_of(graph: Graph, node: Node) -> Sizes | None:
    """The axes of a transpose, counted from the front; None if they are not constant."""
    if kind_of(graph, node) is not Kind.TRANSPOSE:
        return None
    axes = integer_parameters(graph, node, graph.dialect.permutation)
    return None if axes is None else tuple(axis % max(len(axes), 1) for axis in axes)


def integer_parameters(graph: Graph, node: Node, attribute: str) -> Sizes | None:
    """The integer parameters of a node; None if they are not constant.

    They are in the attribute, or in the second input if ``attribute`` is empty.
    """
    if attribute:
        return node.integers(attribute)
    return graph.integers(node.inputs[1]) if len(node.inputs) > 1 else None


def _closed(
    graph: Graph, node: Node, known: Known, declared: Shape | None, *, first: bool
) -> Shape | None:
    """The declared shape of an output, with open sizes replaced where they can be inferred."""
    shape = computed(graph, node, known) if first else None
    if declared is None:
        return shape
    if shape is not None and len(shape) == len(declared):
        return tuple(
            ours if isinstance(ours, int) else theirs
            for ours, theirs in zip(declared, shape, strict=True)
        )
    source = known.get(node.inputs[0]) if node.inputs else None
    open_axes = [axis for axis, size in enumerate(declared) if not isinstance(size, int)]
    if not source or len(open_axes) != 1:
        return declared
    if kind_of(graph, node) is Kind.RESHAPE:
        others = elements_of([size for size in declared if isinstance(size, int)])
        size = elements_of(source) // others if others else 0
    elif open_axes == [0] and fixed((graph.shape(node.inputs[0]) or (0,))[:1]) is None:
        size = source[0]
    else:
        return declared
    return tuple(size if axis in open_axes else other for axis, other in enumerate(declared))


def _convolved(graph: Graph, node: Node, source: Sizes) -> Sizes | None:
    found = convolution(graph, node)
    if found is None or len(source) != len(found.kernel) + 2:
        return None
    if node.operator in graph.dialect.channels_last:
        return (source[0], *found.spatial(source[1:-1]), found.outputs)
    return (source[0], found.outputs, *found.spatial(source[2:]))
