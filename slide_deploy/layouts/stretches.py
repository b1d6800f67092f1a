"""Which operators to write with the channels first: those that save more than they cost.

A transpose is needed where a value goes from one side to the other, and costs as much as the value
is large. Where a map becomes tokens, or tokens a map, one is there already, and is saved if both
sides have the channels first. A normalisation of the first axis is several operators in the
place of one. The cheapest choice for all operators together is a minimum cut.
"""

import math
from collections.abc import Mapping

import networkx
from torch.fx import Node

from slide_deploy.layouts.roles import Role, Size
from slide_deploy.program.traced import shape

# What a normalisation with the channels first costs more, in transposes of its map. A block with
# one between two convolutions, as ConvNeXt has it, gains then. The blocks of Slide-Swin, with two,
# stay tokens, which is faster (docs/passes.md).
_NORMALISATION = 1.0

_FIRST, _LAST = "first", "last"


def channels_first(roles: Mapping[Node, Role], sizes: Mapping[Node, Size]) -> frozenset[Node]:
    """The operators that gain by the channels first.

    Args:
        roles: of operators that work on maps, in the order of the program.
        sizes: height and width of maps; operators whose maps have none stay as they are.
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
    # Of several minimum cuts this one, nearest to the source, rewrites the fewest operators.
    _, (_, first) = networkx.minimum_cut(graph.reverse(), _LAST, _FIRST, capacity="capacity")
    return frozenset(node for node in flexible if node in first)


def _add_value(
    graph: networkx.DiGraph, value: Node, roles: Mapping[Node, Role], flexible: set[Node]
) -> None:
    """Charge for a transpose where a value and its readers are on different sides."""
    here = value if value in flexible else _LAST
    cost = _elements(value)
    # One transpose serves all readers on the other side.
    to_last, to_first = ("to last", value), ("to first", value)
    for reader in value.users:
        role = roles.get(reader)
        if role is not None and role.kind == "leave":
            there: object = _FIRST
        elif reader in flexible and role is not None and value in role.data:
            there = reader if role.kind != "enter" else _LAST  # which reads a map as it is
        else:
            there = _LAST
        _add(graph, to_last, there, math.inf)
        _add(graph, there, to_first, math.inf)
    _add(graph, here, to_last, cost)
    _add(graph, to_first, here, cost)


def _add(graph: networkx.DiGraph, source: object, target: object, capacity: float) -> None:
    """Charge ``capacity`` where ``source`` has the channels first and ``target`` has not."""
    if source is target or source is _LAST or target is _FIRST:
        return
    if graph.has_edge(source, target):
        graph[source][target]["capacity"] += capacity
    else:
        graph.add_edge(source, target, capacity=capacity)


def _elements(node: Node) -> float:
    """How many elements a value has for one image."""
    return float(math.prod(size for size in shape(node)[1:] if isinstance(size, int)))
