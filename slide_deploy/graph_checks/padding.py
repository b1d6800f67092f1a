"""Operators that put zeros around a map, which some converters merge into convolutions."""

from slide_deploy.graph_checks.graph import Graph, Node
from slide_deploy.graph_checks.graph_walks import LONGEST_WALK
from slide_deploy.graph_checks.kinds import Kind, kind_of

Pads = tuple[tuple[int, int], ...]


def zeros_around(graph: Graph, name: str) -> Pads | None:
    """The zeros that the operator in front puts around a value, casts passed over.

    Returns:
        how many before and behind each axis; None where no operator does, or not with zeros only.
    """
    for _ in range(LONGEST_WALK):
        node = graph.producers.get(name)
        if node is None or not node.inputs:
            return None
        if node.operator.lower() == "pad":
            return _read(graph, node)
        if kind_of(graph, node) is not Kind.CAST:
            return None
        name = node.inputs[0]
    return None


def _read(graph: Graph, node: Node) -> Pads | None:
    """The zeros of one operator.

    ONNX holds (begin, ..., end, ...) in an input and perhaps the axes in another, OpenVINO two
    inputs, Core ML (begin, end, ...) of the last axes in an attribute.
    """
    mode = str(node.attributes.get("mode", node.attributes.get("pad_mode", "constant"))).lower()
    rank = len(graph.shape(node.outputs[0]) or ()) if node.outputs else 0
    if mode != "constant" or not _is_zero(graph, node):
        return None
    if graph.format == "coreml":
        flat = node.integers("pad")
        pairs = None if flat is None else tuple(zip(flat[::2], flat[1::2], strict=False))
        axes: tuple[int, ...] = tuple(range(rank - len(pairs or ()), rank))
    elif graph.format == "onnx":
        flat = graph.integers(node.inputs[1]) if len(node.inputs) > 1 else None
        half = len(flat or ()) // 2
        pairs = None if flat is None else tuple(zip(flat[:half], flat[half:], strict=False))
        named = graph.integers(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] else None
        axes = tuple(range(rank)) if named is None else tuple(axis % max(rank, 1) for axis in named)
    else:
        sides = [graph.integers(name) for name in node.inputs[1:3]]
        if len(sides) < 2 or sides[0] is None or sides[1] is None:
            return None
        pairs, axes = tuple(zip(sides[0], sides[1], strict=False)), tuple(range(rank))
    if pairs is None or len(pairs) != len(axes) or any(size < 0 for pair in pairs for size in pair):
        return None
    held = dict(zip(axes, pairs, strict=True))
    return tuple(held.get(axis, (0, 0)) for axis in range(rank))


def _is_zero(graph: Graph, node: Node) -> bool:
    """Whether what is put around a map is zero, as it is where nothing is said."""
    if graph.format == "coreml":
        return node.attributes.get("constant_val", 0) == 0
    place = 2 if graph.format == "onnx" else 3
    if len(node.inputs) <= place or not node.inputs[place]:
        return True
    constant = graph.constants.get(node.inputs[place])
    held = None if constant is None or constant.elements != 1 else constant.array()
    return held is not None and bool(held.item() == 0)
