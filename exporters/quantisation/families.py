"""Families of quantisable operators, found in the graph of a written file.

    projections    matmuls of tokens with a weight: queries, keys, values, the MLP
    pointwise      1x1 convolutions, the projections of feature maps
    depthwise      convolutions with one input channel in each group
    convolutions   all other convolutions
    patches        the first operator with a weight that reads the image
    head           the last operator with a weight before an output
    attention      matmuls of two activations, without a weight

The record of each format lists the families that gain speed on its runtime. They were measured with
``make bench-quantisation``; docs/quantised-operators.md has the figures.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from math import prod

from slide_deploy.graph_checks.convolutions import convolutions
from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Graph, Node, kind_of
from slide_deploy.graph_checks.graph_walks import constant_values

# For a weight with fewer elements, quantisation costs more accuracy than it gains speed. This also
# excludes the constant matrices of slide attention, which have C x heads elements, up to 192 x 6.
LEAST_WEIGHT = 2048
_MATMULS = (Kind.MATMUL, Kind.LINEAR)


class Family(Enum):
    """A family of quantisable operators; the docstring of the module describes each."""

    PROJECTIONS = "projections"
    POINTWISE = "pointwise"
    DEPTHWISE = "depthwise"
    CONVOLUTIONS = "convolutions"
    PATCHES = "patches"
    HEAD = "head"
    ATTENTION = "attention"


def families(graph: Graph) -> dict[str, Family]:
    """Return the family of each quantisable operator of a float32 file, by the name of its node.

    Operators with a weight of fewer than ``LEAST_WEIGHT`` elements, and matmuls with a weight of
    more than two axes, belong to no family.
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
    """Yield the family of each operator by its shape, independent of its position."""
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
    """Return the fixed sizes of a constant value; empty if the file does not state its shape."""
    shape = graph.shape(name) or ()
    return tuple(size for size in shape if isinstance(size, int))


def _reaches(
    producers: Mapping[str, Node], start: Node, ends: set[str], found: Mapping[str, Family]
) -> bool:
    """Return whether an operator reads one of ``ends``, through operators of no family."""
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
    """Return whether an operator's output reaches ``ends`` through operators of no family."""
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
