"""Which operators of a file in float32 must stay so, because float16 has no such large numbers.

Found by running the file, and not by guessing: an operator stays where a number that it reads or
gives is larger than half of float16's range, on any of the inputs. So does one that may meet such a
number inside, where the hardware may keep sums in float16 as well:

    products        |sum of terms| <= |row| |column|          (Cauchy and Schwarz)
    means, sums     sum |x| over what is reduced
    squares         sum x^2 over what is reduced: normalisations and norms

ONNX's LayerNormalization has none inside, as it says that its statistics are in float32.
"""

from collections.abc import Iterable, Mapping
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporters.quantisation.calibration import Feeds
from slide_deploy.backends import values_of
from slide_deploy.graph_checks import read_graph
from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Graph, Node, kind_of

# Half of the range: other inputs have values that are larger than those that were seen.
LARGEST = 65504.0 / 2
_MATMULS = (Kind.MATMUL, Kind.LINEAR)
_SUMS = frozenset({"reducemean", "reducesum", "globalaveragepool"})
_SQUARES = frozenset(
    {"reducel2", "reducel2norm", "reducesumsquare", "lpnormalization", "l2norm"}
    | {"layernorm", "instancenorm", "instancenormalization", "groupnormalization"}
)
Array = NDArray[np.floating]


def overflowing(path: Path, inputs: Iterable[Feeds]) -> tuple[str, ...]:
    """Names of the operators whose numbers float16 may not hold, in the order of the file.

    Args:
        path: of a file in float32.
        inputs: on which it is run, each as the file takes it.

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
    """The largest absolute number; infinity stays what it is in float16, as in masks."""
    top = float(np.abs(array).max(initial=0.0))
    if np.isfinite(top):
        return top
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def _largest(
    graph: Graph, node: Node, values: Mapping[str, Array], peaks: Mapping[str, float]
) -> float:
    """The largest number that an operator may meet."""
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
    """The norm of the longest row or column: a weight may be stored either way."""
    return max(_norm(matrices, axis) for axis in range(-min(matrices.ndim, 2), 0))


def _norm(array: Array, axis: int) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.sqrt((array.astype(np.float64) ** 2).sum(axis))
    return float(found[np.isfinite(found)].max(initial=0.0))


def _reduced(terms: Array, answer: Array | None) -> float:
    """The largest sum over the axes that an answer lacks, or over all but the first where none."""
    if answer is not None and answer.ndim == terms.ndim and answer.shape != terms.shape:
        pairs = zip(terms.shape, answer.shape, strict=True)
        axes = tuple(place for place, (one, other) in enumerate(pairs) if one != other)
        return float(terms.sum(axes, dtype=np.float64).max(initial=0.0))
    if answer is not None and answer.size < terms.size:
        return float(terms.max(initial=0.0)) * terms.size / max(answer.size, 1)
    return float(terms.sum(-1, dtype=np.float64).max(initial=0.0))
