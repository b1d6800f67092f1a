"""Scales, zero points and ranges of a quantised file can be what a quantiser measured.

    weights   scales are finite and not 0, as many as what they scale has parts, and positive. Zero
              points are numbers that the stored type has. The largest stored number is not next to
              nothing: every quantiser chooses the scale so that it is about the largest of the type
    palettes  every index has an entry
    values    scales are finite and positive; what widens a value has the scale and the zero point
              of what rounded it; a range has two finite ends, the lower one first

One thing may be: NNCF gives symmetric weights a negative scale where the number of the largest
magnitude is negative, so that it becomes the type's lowest. A file that rounds no values may have
such scales; kernels that multiply integers are not asked to.

Whether a rounded value is read by an operator that has a kernel for integers differs from one
version of a runtime to the next, and no file tells it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from slide_deploy.graph_checks.graph import Constant, Graph, Node
from slide_deploy.graph_checks.in_floats import rounding
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation
from slide_deploy.graph_checks.stored_weights import StoredWeight, numbers, stored_weights

# Quantisers use at least half of the numbers of a type. A weight whose largest is below a
# sixteenth of the type's is left with fewer levels than 4 bits have.
_LEAST_SHARE = 1 / 16
_NARROW = 8


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    values = rounding(graph)
    for weight in _whole(graph):
        message = _wrong_weight(weight, may_be_negative=not values)
        if message:
            yield RULE.broken(message, weight.name)
    for node in values:
        message = _wrong_range(graph, node) or _wrong_scale(graph, node) or _other(graph, node)
        if message:
            yield RULE.broken(message, node.name)


def _whole(graph: Graph) -> Iterator[StoredWeight]:
    """Weights behind all operators of their chain, those that something scales."""
    weights = stored_weights(graph)
    outputs = {value.name for value in graph.outputs}
    for weight in weights.values():
        readers = graph.consumers.get(weight.name, ())
        ends = weight.name in outputs or any(
            name not in weights for reader in readers for name in reader.outputs
        )
        if ends and (weight.scales or weight.palette is not None or _has_range(graph, weight.node)):
            yield weight


def _wrong_weight(weight: StoredWeight, may_be_negative: bool) -> str:
    """What is wrong with how a weight is stored; empty if nothing is."""
    if _has_range(weight.graph, weight.node):
        return _wrong_range(weight.graph, weight.node)
    for scale in weight.scales:
        held = _read(scale)
        if held is not None and not np.all(np.isfinite(held) & (held != 0)):
            return f"Its scales are not all finite and different from 0: {_shown(held)}."
        has_zeros = any(np.any(_read(zero) != 0) for zero in weight.zeros if zero.elements)
        if held is not None and np.any(held < 0) and (has_zeros or not may_be_negative):
            return f"Its scales are not all positive: {_shown(held)}."
    try:
        weight.expand()
    except ValueError as error:
        return f"What it is stored as does not fit together: {error}."
    return "" if weight.palette is not None else _wrong_numbers(weight)


def _wrong_numbers(weight: StoredWeight) -> str:
    """A zero point that its type has not, or numbers that are next to nothing."""
    lowest, highest = _ends(weight)
    if lowest == highest:
        return ""
    for zero in weight.zeros:
        held = _read(zero)
        if held is not None and not np.all((held >= lowest) & (held <= highest)):
            return f"Its zero points are not numbers of {weight.data.dtype}: {_shown(held)}."
    if weight.bits > _NARROW:  # a bias, whose scale is that of the product that it is added to
        return ""
    largest = float(np.abs(weight.unscaled()).max(initial=0))
    if not largest >= _LEAST_SHARE * (highest + 1 - lowest) / 2:
        return (
            f"All of its {weight.data.elements} numbers of {weight.data.dtype} are within "
            f"{largest:g} of their zero point: its scale leaves nothing of it."
        )
    return ""


def _ends(weight: StoredWeight) -> tuple[float, float]:
    """The lowest and the highest number of a stored type; twice 0 where it is no integer."""
    if "int" not in weight.data.dtype:
        return 0.0, 0.0
    levels = 2.0**weight.bits
    if weight.data.dtype.startswith("u"):
        return 0.0, levels - 1
    return -levels / 2, levels / 2 - 1


def _wrong_range(graph: Graph, node: Node) -> str:
    """What is wrong with the ends between which a value is rounded."""
    if not _has_range(graph, node) or len(node.inputs) < 5:
        return ""
    levels = (node.integers("levels") or (0,))[0]
    if levels < 2:
        return f"It rounds to {levels} levels."
    ends = [_read(graph.constants.get(name)) for name in node.inputs[1:5]]
    for low, high in (ends[:2], ends[2:]):
        if low is None or high is None:
            continue
        try:
            are_apart = np.all(np.isfinite(low) & np.isfinite(high) & (low < high))
        except ValueError:
            return "The ends of its range do not fit together."
        if not are_apart:
            return f"It rounds between {_shown(low)} and {_shown(high)}."
    return ""


def _wrong_scale(graph: Graph, node: Node) -> str:
    """What is wrong with the scale with which a value is rounded or widened."""
    if _has_range(graph, node) or len(node.inputs) < 2:
        return ""
    held = _read(graph.constants.get(node.inputs[1]))
    if held is None or np.all(np.isfinite(held) & (held > 0)):
        return ""
    return f"Its scale is not finite and positive: {_shown(held)}."


def _other(graph: Graph, node: Node) -> str:
    """What differs between an operator that widens a value and the one that rounded it."""
    before = graph.producers.get(node.inputs[0]) if node.inputs else None
    is_pair = before is not None and before.operator in graph.dialect.rounding
    if before is None or not is_pair or before.operator == node.operator:
        return ""
    for place, what in ((1, "scale"), (2, "zero point")):
        ours, theirs = (_at(graph, each, place) for each in (node, before))
        if ours is not None and theirs is not None and not np.array_equal(ours, theirs):
            return f"Its {what} is not that of {before.name}, which rounded the value."
    return ""


def _at(graph: Graph, node: Node, place: int) -> NDArray[np.float64] | None:
    """The constant that an operator reads at a place; a zero point left out is 0."""
    name = node.inputs[place] if place < len(node.inputs) else ""
    if not name and place == 2:
        return np.zeros((), np.float64)
    held = _read(graph.constants.get(name))
    return None if held is None else held.reshape(()) if held.size == 1 else held


def _has_range(graph: Graph, node: Node) -> bool:
    return node.operator in graph.dialect.ranges


def _read(constant: Constant | None) -> NDArray[np.float64] | None:
    """The numbers of a constant; None if there is none, or none that can be read."""
    try:
        return None if constant is None else np.asarray(numbers(constant), np.float64)
    except ValueError:
        return None


def _shown(held: Sequence[float] | NDArray[np.float64]) -> str:
    """The first numbers of some that stand out."""
    flat = np.asarray(held).ravel()
    odd = flat[~(np.isfinite(flat) & (flat > 0))]
    shown = odd if odd.size else flat
    first = [f"{number:g}" for number in shown[:3]]
    return ", ".join(first) + (" and others" if shown.size > len(first) else "")


RULE = Rule(
    id="SD022",
    name="Scales",
    title="Scales, zero points and ranges of a quantised file can be what a quantiser measured.",
    reason="A scale of 0 or NaN, or one that is far too large, leaves nothing of a layer, and the "
    "file loads and answers all the same.",
    remedy="Quantise the model again, with calibration data that reach every layer.",
    check=_check,
)
