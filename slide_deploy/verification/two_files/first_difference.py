"""Find the first value of a file that another file does not compute.

Values are compared by content, because names differ. A value counts as right if the other file
holds it, as it is or with the channels moved, or if a value that depends on it is right: then the
other file computes the same in another way. An output has to be held itself. The first of the
remaining values, in the order of execution, is the difference.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from slide_deploy.errors import InputError
from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.graph_walks import constant_values
from slide_deploy.precisions import Limit
from slide_deploy.verification.divergence import Divergence
from slide_deploy.verification.parity import compare


class _Candidate(NamedTuple):
    norm: float  # of the finite numbers
    values: np.ndarray  # flat


def first_difference(
    graph: Graph,
    values: Mapping[str, np.ndarray],
    others: Sequence[np.ndarray],
    limit: Limit,
) -> Divergence:
    """Find the first value that is not among those of another file.

    Args:
        graph: the judged file.
        values: its floating-point values by name, including its outputs.
        others: the values of the other file for the same inputs, with inputs and outputs.
        limit: how far two values may be apart to count as equal.

    Raises:
        InputError: if none of the values has a name of the graph.
    """
    order = _searched(graph, values)
    if not order:
        raise InputError(
            f"{graph.path} has no float value that its runtime shows under the file's name: "
            f"leave out --locate."
        )
    by_size: dict[int, list[_Candidate]] = {}
    for other in others:
        if other.dtype.kind == "f":
            flat = other.ravel()
            by_size.setdefault(flat.size, []).append(_Candidate(_norm(flat), flat))
    found = {
        name for name in order if _is_among(values[name], by_size.get(values[name].size, ()), limit)
    }
    right = _right(graph, found)
    first = next((name for name in order if name not in right), None)
    before = order if first is None else order[: order.index(first)]
    return Divergence(
        last_right=next((name for name in reversed(before) if name in found), None),
        first_wrong=first,
        found=len(found),
        layers=len(order),
        searched="values",
    )


def _searched(graph: Graph, values: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the values that depend on an input and that an output depends on, in order."""
    constant = constant_values(graph)
    needed = {each.name for each in graph.outputs}
    for node in reversed(graph.order):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
    return [
        name
        for node in graph.order
        for name in node.outputs
        if name in values and name in needed and name not in constant and values[name].size
    ]


def _right(graph: Graph, found: set[str]) -> set[str]:
    """The found values, and all that they were computed from, except outputs that are not found."""
    right = set(found)
    for node in reversed(graph.order):
        if right.intersection(node.outputs):
            right.update(node.inputs)
            right.update(node.outputs)
    return right - ({each.name for each in graph.outputs} - found)


def _is_among(wanted: np.ndarray, candidates: Sequence[_Candidate], limit: Limit) -> bool:
    norm = _norm(wanted)
    # A difference within the limit changes the norm by at most this share (triangle inequality).
    share = 10 ** (-limit.snr_db / 20)
    near = [each for each in candidates if abs(each.norm - norm) <= share * each.norm]
    if not near:
        return False
    orders = [wanted.ravel()]
    if wanted.ndim >= 3:  # channels last as channels first, and the other way round
        orders += [np.moveaxis(wanted, -1, 1).ravel(), np.moveaxis(wanted, 1, -1).ravel()]
    return any(
        # The comparison is false where only one of the two is NaN.
        compare(order, each.values).within(limit)
        for each in near
        for order in orders
    )


def _norm(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)].astype(np.float64).ravel()
    return math.sqrt(float(finite @ finite))
