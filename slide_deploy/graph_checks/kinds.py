"""What operators are to the rules that reason about them, whatever their format calls them.

An operator that its dialect does not name is ``Kind.OTHER``: rules then assume nothing about it.
"""

from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Graph, Node

__all__ = ["Kind", "is_projection", "kind_of"]

# What passes numbers on and mixes no channels by weights: between two projections of an attention
# there is nothing else.
_CROSSING = frozenset(Kind) - {
    Kind.CONVOLUTION,
    Kind.MATMUL,
    Kind.LINEAR,
    Kind.ATTENTION,
    Kind.CONTROL_FLOW,
}


def kind_of(graph: Graph, node: Node) -> Kind:
    """The kind of a node."""
    return graph.dialect.kinds.get(node.operator, Kind.OTHER)


def is_projection(graph: Graph, node: Node) -> bool:
    """Whether a node ends the inside of an attention: it mixes channels or may hide such a node."""
    return kind_of(graph, node) not in _CROSSING
