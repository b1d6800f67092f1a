"""Families of operators that quantisers can reach, told from the graph of a written file.

    projections    products of tokens with a weight: queries, keys, values, the MLP
    pointwise      convolutions of 1x1, the projections of feature maps
    depthwise      convolutions with one input a channel
    convolutions   all other convolutions
    patches        the first operator with a weight that reads the image
    head           the last operator with a weight before an output
    attention      products of two values, no weight

Which of them gain on a runtime was measured (``make bench-quantisation``) and stands in the record
of each format; docs/quantised-operators.md has the figures.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from math import prod

from slide_deploy.graph_checks.convolutions import convolutions
from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Graph, Node, kind_of
from slide_deploy.graph_checks.graph_walks import constant_values

# A weight of fewer numbers is not worth the rounding of what it multiplies. The constant matrices
# that slide attention sums and spreads with have C x heads numbers: fewer as well up to 192 x 6.
LEAST_WEIGHT = 2048
_MATMULS = (Kind.MATMUL, Kind.LINEAR)


class Family(Enum):
    """What an operator is to a quantiser."""

    PROJECTIONS = "projections"
    POINTWISE = "pointwise"
    DEPTHWISE = "depthwise"
    CONVOLUTIONS = "convolutions"
    PATCHES = "patches"
    HEAD = "head"
    ATTENTION = "attention"


def families(graph: Graph) -> dict[str, Family]:
    """The family of each operator that can be quantised, by the name of its node.

    Weights of fewer than ``LEAST_WEIGHT`` numbers, and those with more axes than a matrix where the
    operator is a product, belong to none.

    Args:
        graph: of a file in float32.
    """
    found = dict(_found(graph))
    weighted = [
        node for node in graph.nodes if found.get(node.name) not in (None, Family.ATTENTION)
    ]
    inputs = {value.name for value in graph.inputs}
    outputs = {value.name for value in graph.outputs}
    for node in weighted:
        if _reaches(graph.producers, node, inputs, found):
            found[node.name] = Family.PATCHES
    for node in weighted:
        if _ends(graph.consumers, node, outputs, found) and found[node.name] in (
            Family.PROJECTIONS,
            Family.POINTWISE,
        ):
            found[node.name] = Family.HEAD
    return found


def _found(graph: Graph) -> Iterator[tuple[str, Family]]:
    """Operators by their own shape, wherever they stand."""
    constant = constant_values(graph)
    for convolution in convolutions(graph):
        if prod(_sizes(graph, convolution.node.inputs[1])) < LEAST_WEIGHT:
            continue
        if convolution.groups > 1 and convolution.inputs_per_group == 1:
            family = Family.DEPTHWISE
        elif convolution.groups == 1 and set(convolution.kernel) == {1}:
            family = Family.POINTWISE
        else:
            family = Family.CONVOLUTIONS
        yield convolution.node.name, family
    for node in graph.nodes:
        if kind_of(graph, node) not in _MATMULS or len(node.inputs) < 2:
            continue
        weights = [name for name in node.inputs[:2] if name in constant]
        if not weights:
            yield node.name, Family.ATTENTION
        elif weights == [node.inputs[1]]:
            sizes = _sizes(graph, weights[0])
            if len(sizes) == 2 and prod(sizes) >= LEAST_WEIGHT:
                yield node.name, Family.PROJECTIONS


def _sizes(graph: Graph, name: str) -> tuple[int, ...]:
    """The shape of a value that is constant; empty where the file does not tell."""
    shape = graph.shape(name) or ()
    return tuple(size for size in shape if isinstance(size, int))


def _reaches(
    producers: Mapping[str, Node], start: Node, ends: set[str], found: Mapping[str, Family]
) -> bool:
    """Whether a value is read, through operators of no family, that is one of ``ends``."""
    waiting, seen = [start.inputs[0]], set[str]()
    while waiting:
        name = waiting.pop()
        if name in ends:
            return True
        node = producers.get(name)
        if node is not None and name not in seen and node.name not in found:
            seen.add(name)
            waiting.extend(each for each in node.inputs if each)
    return False


def _ends(
    readers: Mapping[str, Sequence[Node]], start: Node, ends: set[str], found: Mapping[str, Family]
) -> bool:
    """Whether what an operator gives becomes an output through operators of no family."""
    waiting, seen = list(start.outputs), set[str]()
    while waiting:
        name = waiting.pop()
        if name in ends:
            return True
        if name in seen:
            continue
        seen.add(name)
        for node in readers.get(name, ()):
            if node.name not in found:
                waiting.extend(node.outputs)
    return False
