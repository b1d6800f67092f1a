"""Counts the normalisations of a traced program by their epsilon.

Every format keeps a layer, group or instance normalisation as one operator, or decomposes it with
the same constant under a square root. These must be in the file. The following may be missing: a
batch normalisation may be folded into preceding weights; some formats scale a root-mean-square
normalisation before they add epsilon; and a normalisation that the network itself decomposes may
become one operator.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
from torch.export import ExportedProgram
from torch.fx import Node

from slide_deploy.graph_checks.census import Count
from slide_deploy.program.traced import Call, Traced, call

_KEPT = ("layer_norm", "native_layer_norm", "group_norm", "native_group_norm", "instance_norm")
_MAY_VANISH = (
    *("batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training"),
    *("_native_batch_norm_legit", "cudnn_batch_norm", "rms_norm", "_fused_rms_norm"),
)
_EPSILON = ("eps", "epsilon")
_HALF = (0.5, -0.5)


def epsilons(program: ExportedProgram) -> Mapping[float, Count]:
    """Return how many normalisations with each epsilon a file of a program must and may have."""
    traced = Traced(program)
    most: Counter[float] = Counter()
    different: dict[float, set[str]] = defaultdict(set)
    for each in traced.calls():
        for epsilon, is_kept in _normalisation(traced, each):
            # Some epsilons are stored as a float32 bias. Rounding makes both kinds of 1e-5 equal.
            epsilon = float(str(np.float32(epsilon)))
            if not 0 < epsilon < 1:
                continue
            most[epsilon] += 1
            if is_kept:  # converters merge normalisations with equal results
                different[epsilon].add(traced.identity[each.node])
    return {epsilon: Count(len(different[epsilon]), number) for epsilon, number in most.items()}


def _normalisation(traced: Traced, each: Call) -> Iterator[tuple[float, bool]]:
    """Yield the epsilon of a normalisation, and whether every converter keeps it."""
    if each.name in (*_KEPT, *_MAY_VANISH):
        held = next((each.arguments[name] for name in _EPSILON if name in each.arguments), None)
        # A root-mean-square normalisation without epsilon uses that of its element type.
        if held is not None:
            yield float(held), each.name in _KEPT
    elif each.name in ("sqrt", "sqrt_", "rsqrt", "rsqrt_") or _is_power(each):
        yield from _written_out(traced, each)


def _is_power(each: Call) -> bool:
    return each.name == "pow" and each.arguments.get("exponent") in _HALF


def _written_out(traced: Traced, root: Call) -> Iterator[tuple[float, bool]]:
    """Yield the epsilon under a root: variance + constant, or a mean of squares with a bias.

    NCHW slide stages are normalised in the second way, which every converter keeps.
    """
    variance = call(root.arguments["self"])
    if variance is None:
        return
    terms = [variance]
    if variance.name in ("add", "add_"):
        sides = (variance.arguments["self"], variance.arguments["other"])
        for side, other in (sides, sides[::-1]):
            number = _number(traced, side)
            if number is not None:
                yield number, _is_variance(other)
                return
        terms = [found for side in sides if (found := call(side)) is not None]
    for power in terms:
        if _is_mean_of_squares(traced, power):
            number = _number(traced, power.arguments["bias"])
            if number is not None:
                yield number, True
                return


def _is_variance(value: object) -> bool:
    """Return whether a value is mean((x - mean(x))^2), which every converter keeps."""
    mean = call(value)
    square = call(mean.arguments["self"]) if mean is not None and mean.name == "mean" else None
    if square is None or square.name != "mul":
        return False
    sides = (square.arguments["self"], square.arguments["other"])
    difference = call(sides[0]) if sides[0] is sides[1] else None
    if difference is None or difference.name != "sub":
        return False
    centre = call(difference.arguments["other"])
    return (
        centre is not None
        and centre.name == "mean"
        and centre.arguments["self"] is difference.arguments["self"]
    )


def _is_mean_of_squares(traced: Traced, each: Call) -> bool:
    if each.name not in ("conv2d", "convolution"):
        return False
    square, weight = call(each.arguments["input"]), traced.weight(each.arguments["weight"])
    if square is None or square.name != "mul" or weight is None:
        return False
    is_square = square.arguments["self"] is square.arguments["other"]
    return is_square and bool((weight == 1 / weight.numel()).all())


def _number(traced: Traced, held: object) -> float | None:
    """Return a number, or the number in a constant with one element; else None."""
    if isinstance(held, Node):
        weight = traced.weight(held)
        return float(weight) if weight is not None and weight.numel() == 1 else None
    if isinstance(held, int | float) and not isinstance(held, bool):
        return float(held)
    return None
