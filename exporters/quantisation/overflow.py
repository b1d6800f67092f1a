"""Finds operators of a float32 file whose values may overflow float16.

The file is run on example inputs. An operator is found if it reads or writes a value larger than
half of float16's range, on any input. It is also found if an intermediate sum may be that large,
because hardware may accumulate in float16. The bounds of these sums are:

    matmuls         |sum of terms| <= |row| |column|          (Cauchy and Schwarz)
    means, sums     sum |x| over the reduced axes
    squares         sum x^2 over the reduced axes: normalisations and norms

ONNX's LayerNormalization needs no such bound: the standard computes its statistics in float32.
"""

from collections.abc import Iterable, Mapping
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporters.quantisation.examples import Feeds
from slide_deploy.backends import values_of
from slide_deploy.graph_checks import read_graph
from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Graph, Node, kind_of

# Half of the range, because other inputs may have larger values than the examples.
LARGEST = 65504.0 / 2
_MATMULS = (Kind.MATMUL, Kind.LINEAR)
_SUMS = frozenset({"reducemean", "reducesum", "globalaveragepool"})
_SQUARES = frozenset(
    {"reducel2", "reducel2norm", "reducesumsquare", "lpnormalization", "l2norm"}
    | {"layernorm", "instancenorm", "instancenormalization", "groupnormalization"}
)
Array = NDArray[np.floating]


def overflowing(path: Path, inputs: Iterable[Feeds]) -> tuple[str, ...]:
    """Return the operators of a float32 file that may overflow float16, in the order of the file.

    Raises:
        InputError: if the file cannot be run.
    """
    graph = read_graph(path)
    constants = {name: each.array() for name, each in graph.constants.items()}
    stored: dict[str, Array] = {
        name: np.asarray(array)
        for name, array in constants.items()
        if array is not None and array.dtype.kind == "f"
    }
    found: set[str] = set()
    for feeds in inputs:
        values = stored | values_of(path, feeds)
        values |= {name: array for name, array in feeds.items() if array.dtype.kind == "f"}
        peaks = {name: _peak(array) for name, array in values.items()}
        found |= {
            node.name
            for node in graph.nodes
            if node.name not in found and not _largest(graph, node, values, peaks) <= LARGEST
        }
    return tuple(node.name for node in graph.nodes if node.name in found)


def _peak(array: Array) -> float:
    """Return the largest finite magnitude; infinities, as in masks, are exact in float16."""
    top = float(np.abs(array).max(initial=0.0))
    if np.isfinite(top):
        return top
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def _largest(
    graph: Graph, node: Node, values: Mapping[str, Array], peaks: Mapping[str, float]
) -> float:
    """Return a bound of the largest value that an operator reads, computes or writes."""
    outside = max((peaks.get(name, 0.0) for name in (*node.inputs, *node.outputs)), default=0.0)
    read = [values[name] for name in node.inputs[:2] if name in values]
    kind, operator = kind_of(graph, node), node.operator.replace("_", "").lower()
    inside = 0.0
    if kind in _MATMULS and len(read) == 2:
        inside = _longest(read[0]) * _longest(read[1])
    elif kind is Kind.CONVOLUTION and len(read) == 2:
        terms = read[1][0].size
        inside = peaks[node.inputs[0]] * sqrt(terms) * _norm(read[1].reshape(len(read[1]), -1), -1)
    elif operator in _SUMS and read:
        inside = _reduced(np.abs(read[0]), values.get(node.outputs[0]))
    elif operator in _SQUARES and read:
        inside = _reduced(read[0].astype(np.float64) ** 2, values.get(node.outputs[0]))
    return max(outside, inside)


def _longest(matrices: Array) -> float:
    """Return the largest norm of a row or column, because a weight may be transposed."""
    return max(_norm(matrices, axis) for axis in range(-min(matrices.ndim, 2), 0))


def _norm(array: Array, axis: int) -> float:
    last = np.moveaxis(array, axis, -1)
    with np.errstate(over="ignore", invalid="ignore"):
        # Sums in float64 without a float64 copy of the array.
        found = np.sqrt(np.einsum("...i,...i->...", last, last, dtype=np.float64))
    return float(found[np.isfinite(found)].max(initial=0.0))


def _reduced(terms: Array, output: Array | None) -> float:
    """Return the largest sum of terms over the reduced axes, given the operator's output.

    Without a reduced axis in the output, the sum is over the last axis.
    """
    if output is not None and output.ndim == terms.ndim and output.shape != terms.shape:
        pairs = zip(terms.shape, output.shape, strict=True)
        axes = tuple(place for place, (one, other) in enumerate(pairs) if one != other)
        return float(terms.sum(axes, dtype=np.float64).max(initial=0.0))
    if output is not None and output.size < terms.size:
        return float(terms.max(initial=0.0)) * terms.size / max(output.size, 1)
    return float(terms.sum(-1, dtype=np.float64).max(initial=0.0))
