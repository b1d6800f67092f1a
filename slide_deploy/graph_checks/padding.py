"""Padding operators with zeros, which some converters merge into convolutions."""

from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Graph, Node, kind_of
from slide_deploy.graph_checks.graph_walks import ancestors

Pads = tuple[tuple[int, int], ...]


def zeros_around(graph: Graph, name: str) -> Pads | None:
    """The zeros that a padding operator, casts skipped, adds around a value.

    Returns:
        How many before and after each axis; None if there is no such operator, or it adds other
        numbers.
    """
    for node in ancestors(graph, name):
        if node.operator.lower() in graph.dialect.padding.operators:
            return _read(graph, node) if node.inputs else None
        if kind_of(graph, node) is not Kind.CAST:
            return None
    return None


def _read(graph: Graph, node: Node) -> Pads | None:
    """The zeros that a padding operator adds; None if it adds other numbers or is invalid."""
    words = graph.dialect.padding
    mode = str(node.attributes.get("mode", node.attributes.get("pad_mode", "constant"))).lower()
    rank = len(graph.shape(node.outputs[0]) or ()) if node.outputs else 0
    if mode != "constant" or not _is_zero(graph, node):
        return None
    axes = tuple(range(rank))
    if words.attribute:
        flat = node.integers(words.attribute) or ()
        before, behind = flat[::2], flat[1::2]
        axes = axes[rank - len(before) :]
    else:
        held = [
            graph.integers(node.inputs[place]) for place in words.inputs if place < len(node.inputs)
        ]
        amounts = [each for each in held if each is not None]
        if not amounts or len(amounts) < len(words.inputs):
            return None
        half = len(amounts[0]) // 2
        if words.by_axis:
            before, behind = amounts[0][::2], amounts[0][1::2]
        elif len(amounts) == 2:
            before, behind = amounts
        else:
            before, behind = amounts[0][:half], amounts[0][half:]
        named = words.axes is not None and _input(node, words.axes)
        if named:
            axes = tuple(axis % max(rank, 1) for axis in graph.integers(named) or ())
    pairs = tuple(zip(before, behind, strict=False))
    if len(pairs) != len(axes) or any(size < 0 for pair in pairs for size in pair):
        return None
    around = dict(zip(axes, pairs, strict=True))
    return tuple(around.get(axis, (0, 0)) for axis in range(rank))


def _is_zero(graph: Graph, node: Node) -> bool:
    """Whether the padding value is zero, which is the default."""
    place = graph.dialect.padding.value
    if isinstance(place, str):
        return node.attributes.get(place, 0) == 0
    name = _input(node, place)
    return not name or graph.number(name) == 0


def _input(node: Node, place: int) -> str:
    """The name of the input at a position; empty if there is none."""
    return node.inputs[place] if place < len(node.inputs) else ""
