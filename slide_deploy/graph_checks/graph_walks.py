"""Walks along the edges of a graph that several rules take."""

from collections.abc import Iterable, Iterator

from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Graph, Node, kind_of, may_mix_channels

# Patterns are a few operators long. The limit keeps walks in a file of one long chain from taking
# quadratic time.
LONGEST_WALK = 32


def ancestors(graph: Graph, name: str, longest: int = LONGEST_WALK) -> Iterator[Node]:
    """Yield the node that computes a value, the one that computes its first input, and so on."""
    for _ in range(longest):
        node = graph.producers.get(name)
        if node is None:
            return
        yield node
        if not node.inputs:
            return
        name = node.inputs[0]


def constant_values(graph: Graph) -> frozenset[str]:
    """Names of constants and of values computed from constants alone."""
    constant = set(graph.constants)
    for node in graph.order:
        if node.inputs and all(name in constant for name in node.inputs if name):
            constant.update(node.outputs)
    return frozenset(constant)


def inside_attention(graph: Graph, starts: Iterable[Node]) -> Iterator[Node]:
    """Walk from nodes of an attention up to the next ones that may mix channels, exclusive."""
    waiting = list(starts)
    seen = {id(node) for node in waiting}
    while waiting:
        node = waiting.pop()
        yield node
        for name in node.outputs:
            for reader in graph.consumers.get(name, ()):
                if id(reader) not in seen and not may_mix_channels(graph, reader):
                    seen.add(id(reader))
                    waiting.append(reader)


def through_scaling(graph: Graph, name: str) -> str:
    """The value from which a value is computed by casts and products with constants alone."""
    for _ in range(LONGEST_WALK):
        node = graph.producers.get(name)
        if node is None:
            break
        kind = kind_of(graph, node)
        varying = [source for source in node.inputs if source and source not in graph.constants]
        scaled = kind is Kind.MULTIPLY and len(varying) == 1
        is_kept = scaled or kind is Kind.CAST or node.operator.lower() == "identity"
        if not is_kept or not varying:
            break
        name = varying[0]
    return name


def without_bias(graph: Graph, name: str) -> str:
    """The value from which a value is computed by sums with constants and reshapes alone."""
    for _ in range(LONGEST_WALK):
        node = graph.producers.get(name)
        if node is None or kind_of(graph, node) not in (Kind.ADD, Kind.RESHAPE):
            break
        varying = [source for source in node.inputs if source and source not in graph.constants]
        if len(varying) != 1:
            break
        name = varying[0]
    return name
