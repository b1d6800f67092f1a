"""Constants as int8 with scales: a quarter of the size, expanded when a file is loaded.

    x  ~  q s,   q = round(x / s),   s = max |x| / 127   for each channel, or for the whole tensor

Runtimes fold the expansion once, so the file runs as fast as in float32.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporters.quantisation.families import LEAST_WEIGHT, Family, families
from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Constant, Graph, Node, kind_of
from slide_deploy.graph_checks.matmuls import stored_transposed

_HIGHEST = 127
_FLOATS = ("float16", "float32")


@dataclass(frozen=True)
class Int8Constant:
    """An 8-bit constant.

    Attributes:
        values: the int8 values.
        scale: their float32 scale, with the same rank.
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]


def to_int8(values: NDArray[np.floating], axis: int | None) -> Int8Constant:
    """Quantise a constant to 8 bits.

    Args:
        values: an array of any shape.
        axis: the channel axis, which has a scale for each index; None for one scale.
    """
    exact = values.astype(np.float64)
    others = tuple(each for each in range(exact.ndim) if axis is None or each != axis % exact.ndim)
    scale = (np.abs(exact).max(axis=others, keepdims=True) / _HIGHEST).astype(np.float32)
    scale[scale == 0] = 1  # channels of zeros
    return Int8Constant(np.rint(exact / scale).astype(np.int8), scale)


def weights_of(graph: Graph) -> dict[str, int | None]:
    """Return the output channel axis of every weight to compress, by the constant's name."""
    found: dict[str, int | None] = {}
    kinds = families(graph)
    for node in graph.nodes:
        if kinds.get(node.name) in (None, Family.ATTENTION):
            continue
        name = node.inputs[1]
        if name in graph.constants:
            found[name] = _outputs(graph, node)
    return found


def _outputs(graph: Graph, node: Node) -> int:
    if kind_of(graph, node) is Kind.CONVOLUTION:
        return 0
    return 0 if stored_transposed(graph, node)[1] else -1


def addends_of(graph: Graph) -> tuple[str, ...]:
    """Return the names of large constants that are added, such as position bias tables."""
    return tuple(
        dict.fromkeys(
            name
            for node in graph.nodes
            if kind_of(graph, node) is Kind.ADD
            for name in node.inputs
            if name in graph.constants and _is_table(graph.constants[name])
        )
    )


def _is_table(constant: Constant) -> bool:
    """Return whether a constant has two axes or more and is large."""
    axes = [size for size in constant.shape if size > 1]
    return len(axes) > 1 and constant.elements >= LEAST_WEIGHT and constant.dtype in _FLOATS
