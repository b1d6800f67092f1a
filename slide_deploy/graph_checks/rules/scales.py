"""SD022: scales, zero points and ranges of a quantised file are plausible.

    weights   scales are finite and positive, and their shape fits the tensor, channels or blocks
              that they scale. Zero points lie in the range of the stored type. The largest stored
              number uses a fair part of that range, because every quantiser chooses the scale so
    palettes  every index has an entry
    values    scales are finite and positive; the dequantisation of a value has the scale and the
              zero point of its quantisation; a range has two finite ends, the lower one first

There is one exception. NNCF gives symmetric weights a negative scale if the number of the largest
magnitude is negative, so that it maps to the type's lowest number. Such scales are allowed in a
file that rounds no values, because integer kernels are not used there.

The rule does not check whether integer kernels read the rounded values: that differs between
versions of a runtime, and the file does not show it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from slide_deploy.graph_checks.graph import Constant, Graph, Node
from slide_deploy.graph_checks.in_floats import rounding
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation
from slide_deploy.graph_checks.stored_weights import StoredWeight, numbers, stored_weights

# Quantisers use at least half of a type's range. A weight that stays below a sixteenth of it has
# fewer levels than 4 bits offer.
_LEAST_SHARE = 1 / 16
_NARROW = 8


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    values = rounding(graph)
    for weight in _scaled_weights(graph):
        message = _wrong_weight(weight, may_be_negative=not values)
        if message:
            yield RULE.broken(message, weight.name)
    for node in values:
        message = _wrong_range(graph, node) or _wrong_scale(graph, node) or _mismatch(graph, node)
        if message:
            yield RULE.broken(message, node.name)


def _scaled_weights(graph: Graph) -> Iterator[StoredWeight]:
    """Weights at the end of their chain that have a scale, a palette or a range."""
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
    """Why the storage of a weight is implausible, a sentence; empty if it is plausible."""
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
        return f"Its stored parts do not fit together: {error}."
    return "" if weight.palette is not None else _wrong_numbers(weight)


def _wrong_numbers(weight: StoredWeight) -> str:
    """Why zero points or stored numbers of a weight are implausible; empty if they are not."""
    lowest, highest = _ends(weight)
    if lowest == highest:
        return ""
    for zero in weight.zeros:
        held = _read(zero)
        if held is not None and not np.all((held >= lowest) & (held <= highest)):
            return f"Its zero points are not numbers of {weight.data.dtype}: {_shown(held)}."
    if weight.bits > _NARROW:  # a bias has the scale of the matmul that it is added to
        return ""
    largest = float(np.abs(weight.unscaled()).max(initial=0))
    if not largest >= _LEAST_SHARE * (highest + 1 - lowest) / 2:
        return (
            f"All of its {weight.data.elements} numbers of {weight.data.dtype} are within "
            f"{largest:g} of their zero point: its scale is far too large."
        )
    return ""


def _ends(weight: StoredWeight) -> tuple[float, float]:
    """The lowest and the highest number of a stored type; (0, 0) for floats."""
    if "int" not in weight.data.dtype:
        return 0.0, 0.0
    levels = 2.0**weight.bits
    if weight.data.dtype.startswith("u"):
        return 0.0, levels - 1
    return -levels / 2, levels / 2 - 1


def _wrong_range(graph: Graph, node: Node) -> str:
    """Why the range to which a value is clipped is implausible; empty if it is not."""
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
    """Why the scale of a rounding or dequantising operator is implausible; empty if it is not."""
    if _has_range(graph, node) or len(node.inputs) < 2:
        return ""
    held = _read(graph.constants.get(node.inputs[1]))
    if held is None or np.all(np.isfinite(held) & (held > 0)):
        return ""
    return f"Its scale is not finite and positive: {_shown(held)}."


def _mismatch(graph: Graph, node: Node) -> str:
    """How a dequantisation differs from the quantisation before it; empty if it does not."""
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
    """The constant at a position among an operator's inputs; an omitted zero point is 0."""
    name = node.inputs[place] if place < len(node.inputs) else ""
    if not name and place == 2:
        return np.zeros((), np.float64)
    held = _read(graph.constants.get(name))
    return None if held is None else held.reshape(()) if held.size == 1 else held


def _has_range(graph: Graph, node: Node) -> bool:
    return node.operator in graph.dialect.ranges


def _read(constant: Constant | None) -> NDArray[np.float64] | None:
    """The numbers of a constant; None if there is no constant or its type cannot be read."""
    try:
        return None if constant is None else np.asarray(numbers(constant), np.float64)
    except ValueError:
        return None


def _shown(held: Sequence[float] | NDArray[np.float64]) -> str:
    """The first three numbers that are not finite and positive, or the first three of all."""
    flat = np.asarray(held).ravel()
    wrong = flat[~(np.isfinite(flat) & (flat > 0))]
    shown = wrong if wrong.size else flat
    first = [f"{number:g}" for number in shown[:3]]
    return ", ".join(first) + (" and others" if shown.size > len(first) else "")


RULE = Rule(
    id="SD022",
    name="Scales",
    title="Scales, zero points and ranges of a quantised file are plausible.",
    reason="A scale of 0 or NaN, or one that is far too large, wipes out a layer, and the file "
    "still loads and runs.",
    remedy="Quantise the model again, with calibration data that reach every layer.",
    check=_check,
)
