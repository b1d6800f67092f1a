"""Which integers an input of a file takes.

Integers are often indices, and one beyond the end of its table would stop the runtime. So the
graph is followed from the input: through operators that move numbers, up to the tables in which
they are looked up, and up to casts to floats, behind which any number is valid.
"""

from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Graph, Node, kind_of

# Integers that are only computed with: as many values as a pixel has.
ANY = 256
# 0 and 1 are valid indices into any axis of at least two entries.
LEAST = 2
# Longer tables are not looked up further. Every case draws from this many entries.
MOST = 65_536
_MOVES = (
    *(Kind.RESHAPE, Kind.TRANSPOSE, Kind.CONCAT, Kind.EXPAND, Kind.SAME_SHAPE, Kind.CAST),
    Kind.GATHER,
)


def index_count(graph: Graph, name: str) -> int:
    """Return how many integers, from 0 on, are valid in an input.

    Args:
        graph: the file.
        name: name of the input. ``LEAST`` is returned if the graph does not have it.
    """
    if not graph.consumers.get(name):
        return LEAST
    count, waiting, seen = MOST, [name], {name}
    is_looked_up = False
    while waiting:
        value = waiting.pop()
        for node in graph.consumers.get(value, ()):
            kind = kind_of(graph, node)
            if kind is Kind.GATHER and value in node.inputs[1:]:
                count = min(count, _entries(graph, node))
                is_looked_up = True
                continue
            if kind is Kind.CAST and _is_float(graph, node):
                continue
            # Elsewhere an integer may be a size or a position.
            if kind not in _MOVES or (kind is not Kind.CONCAT and value in node.inputs[1:]):
                return LEAST
            waiting += [output for output in node.outputs if output not in seen]
            seen.update(node.outputs)
    return count if is_looked_up else ANY


def _is_float(graph: Graph, cast: Node) -> bool:
    found = [graph.values.get(output) for output in cast.outputs]
    return all(each is not None and "float" in each.dtype for each in found)


def _entries(graph: Graph, node: Node) -> int:
    """The number of entries in the table of a look-up; ``LEAST`` if it is unknown."""
    shape = graph.shape(node.inputs[0])
    if shape is None or not all(isinstance(size, int) for size in shape):
        return LEAST
    sizes = [size for size in shape if isinstance(size, int)]
    axis = node.integers("axis")
    if axis is None and len(node.inputs) > 2:
        axis = graph.integers(node.inputs[2])
    if axis is None and node.operator == graph.dialect.gather and graph.dialect.optional_inputs:
        axis = (0,)  # ONNX's default
    if axis is not None and len(axis) == 1 and -len(sizes) <= axis[0] < len(sizes):
        return max(1, sizes[axis[0]])
    return max(1, min(sizes, default=LEAST))
