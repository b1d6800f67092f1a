"""Select the operators to rewrite for NCHW feature maps: those that save more than they cost.

A value that passes from one layout to the other needs a transpose, whose cost is the size of the
value. Where a feature map becomes tokens, or tokens a feature map, the program already has a
transpose; it is saved if both sides are NCHW. A normalisation over the first axis costs several
operators instead of one. A minimum cut gives the cheapest choice for all operators together.
"""

import math
from collections.abc import Mapping

import networkx
from torch.fx import Node

from slide_deploy.layouts.roles import Role, Size
from slide_deploy.program.traced import shape

# Extra cost of a normalisation in NCHW, in transposes of its feature map. At this cost a block with
# one normalisation between two convolutions, as in ConvNeXt, is rewritten. The blocks of
# Slide-Swin, which have two, stay tokens, which is faster (docs/passes.md).
_NORMALISATION = 1.0

_FIRST, _LAST = "first", "last"


def channels_first(roles: Mapping[Node, Role], sizes: Mapping[Node, Size]) -> frozenset[Node]:
    """Select the operators that gain by the NCHW layout.

    Args:
        roles: roles of the operators on feature maps, in the order of the program.
        sizes: height and width of feature maps; operators without known sizes stay as they are.
    """
    flexible = {
        node
        for node, role in roles.items()
        if role.kind != "leave"
        and (role.kind == "mean" or node in sizes)
        and all(each in sizes for each in role.data if role.kind != "enter")
    }
    graph = networkx.DiGraph()
    graph.add_nodes_from((_FIRST, _LAST))
    for node, role in roles.items():
        if node not in flexible:
            continue
        if role.kind == "norm":
            _add(graph, node, _LAST, _NORMALISATION * _elements(node))
        if role.kind == "enter":
            _add(graph, _FIRST, node, _elements(node))
    for value in {each for node in flexible for each in (node, *roles[node].data)}:
        if value in flexible and roles[value].kind == "mean":
            continue
        _add_value(graph, value, roles, flexible)
    # Of several minimum cuts, the one nearest to the source rewrites the fewest operators.
    _, (_, first) = networkx.minimum_cut(graph.reverse(), _LAST, _FIRST, capacity="capacity")
    return frozenset(node for node in flexible if node in first)


def _add_value(
    graph: networkx.DiGraph, value: Node, roles: Mapping[Node, Role], flexible: set[Node]
) -> None:
    """Add the cost of a transpose if a value and its readers have different layouts."""
    here = value if value in flexible else _LAST
    cost = _elements(value)
    # One transpose serves all readers in the other layout.
    to_last, to_first = ("to last", value), ("to first", value)
    for reader in value.users:
        role = roles.get(reader)
        if role is not None and role.kind == "leave":
            there: object = _FIRST
        elif reader in flexible and role is not None and value in role.data:
            there = reader if role.kind != "enter" else _LAST  # "enter" reads NCHW already
        else:
            there = _LAST
        _add(graph, to_last, there, math.inf)
        _add(graph, there, to_first, math.inf)
    _add(graph, here, to_last, cost)
    _add(graph, to_first, here, cost)


def _add(graph: networkx.DiGraph, source: object, target: object, capacity: float) -> None:
    """Add the cost ``capacity`` of ``source`` being NCHW while ``target`` is not."""
    if source is target or source is _LAST or target is _FIRST:
        return
    if graph.has_edge(source, target):
        graph[source][target]["capacity"] += capacity
    else:
        graph.add_edge(source, target, capacity=capacity)


def _elements(node: Node) -> float:
    """Number of elements of a value for one image."""
    return float(math.prod(size for size in shape(node)[1:] if isinstance(size, int)))
