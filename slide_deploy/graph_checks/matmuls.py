"""Matmuls in one form for all formats: the summed size and the shape of the result.

Either matrix may be stored transposed::

    (..., M, K) x (..., K, N) -> (..., M, N)
"""

from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Graph, Node, elements_of, kind_of

Sizes = tuple[int, ...]


def matmul(graph: Graph, node: Node, left: Sizes, right: Sizes) -> tuple[Sizes, int] | None:
    """The result's shape and the summed size K of a node of kind MATMUL or LINEAR.

    None if the shapes of its two inputs do not fit together, or if a side is a vector.
    """
    if len(left) < 2 or len(right) < 2:
        return None
    keeps_axes = graph.dialect.keeps_axes
    if kind_of(graph, node) is Kind.LINEAR and keeps_axes and not node.attributes.get(keeps_axes):
        left = (elements_of(left[:-1]), left[-1])
    transpose_left, transpose_right = stored_transposed(graph, node)
    (rows, inner), (inner_right, columns) = left[-2:], right[-2:]
    if transpose_left:
        rows, inner = inner, rows
    if transpose_right:
        inner_right, columns = columns, inner_right
    batch = broadcast((left[:-2], right[:-2]))
    if inner != inner_right or batch is None:
        return None
    return (*batch, rows, columns), inner


def broadcast(shapes: tuple[Sizes, ...]) -> Sizes | None:
    """The shape to which numpy broadcasts these shapes; None if it cannot."""
    rank = max(map(len, shapes), default=0)
    result = []
    for axis in range(-rank, 0):
        sizes = {shape[axis] for shape in shapes if len(shape) >= -axis} - {1}
        if len(sizes) > 1:
            return None
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def stored_transposed(graph: Graph, node: Node) -> tuple[bool, bool]:
    """Whether the first and the second matrix of a matmul are stored transposed."""
    always = graph.dialect.linear_transposed
    if kind_of(graph, node) is Kind.LINEAR and always is not None:
        return always
    left, right = graph.dialect.transposed
    return bool(node.attributes.get(left)), bool(node.attributes.get(right))
