"""Rewrite rules that give operators back which older opsets write out.

layer norm   (x - mean) / sqrt(mean((x - mean)²) + epsilon) * scale [+ bias]
GELU         x * 0.5 * (1 + erf(x / sqrt(2))), in every order of its factors
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRule, RewriteRuleSet
from onnxscript.rewriter.pattern import MatchResult

# Operators one of which every pattern has.
WRITTEN_OUT = {"ReduceMean", "Erf", "LayerNormalization"}

# Largest relative difference of a rounded constant, such as the root of two in float16.
_ROUNDED = 1e-3


def written_out_rules() -> tuple[RewriteRuleSet, ...]:
    """Return the rules in the order in which they are applied; sums and products commute."""
    bias = RewriteRule(_biased, _with_bias, _check_bias)
    norms = [RewriteRule(each, _norm, _check_norm) for each in _norms()]
    gelus = [RewriteRule(each, _gelu, partial(_check_gelu, root)) for each, root in _gelus()]
    return tuple(RewriteRuleSet(rules, commute=True) for rules in (norms, [bias], gelus))


def _norms() -> Iterator[Callable[..., Any]]:
    """Yield the patterns of a layer norm over the last axis."""
    for is_power, is_quotient in product((False, True), repeat=2):
        yield _norm_pattern(is_power, is_quotient)


def _norm_pattern(is_power: bool, is_quotient: bool) -> Callable[..., Any]:
    # A default argument of the pattern would be another value to match, hence this function.
    def pattern(op: Any, x: Any, epsilon: Any, scale: Any) -> Any:
        def mean(value: Any, name: str) -> Any:
            return op.ReduceMean(value, _allow_other_inputs=True, _outputs=[name])

        apart = op.Sub(x, mean(x, "centre"))
        square = op.Pow(apart, 2.0) if is_power else op.Mul(apart, apart)
        deviation = op.Sqrt(op.Add(mean(square, "variance"), epsilon))
        if is_quotient:
            return op.Mul(op.Div(apart, deviation), scale)
        return op.Mul(op.Mul(apart, op.Reciprocal(deviation)), scale)

    return pattern


def _check_norm(
    context: Any, epsilon: Any, scale: Any, centre: Any, variance: Any, **_: Any
) -> MatchResult:
    result = MatchResult()
    if _number(epsilon) is None:
        return result.fail("epsilon is computed", epsilon)
    held = _held(scale)
    if held is None or held.ndim != 1:
        return result.fail("the scale is not one constant per feature", scale)
    for mean in (centre, variance):
        if not _is_over_the_last_axis(mean.producer()):
            return result.fail("a mean is not over the last axis", mean)
    return result


def _is_over_the_last_axis(mean: ir.Node) -> bool:
    keepdims = mean.attributes.get("keepdims")
    if keepdims is not None and not keepdims.value:
        return False
    if len(mean.inputs) > 1:  # the axes became an input in opset 18
        axes = mean.inputs[1]
        held = None if axes is None else axes.const_value
        return held is not None and held.numpy().tolist() == [-1]
    given = mean.attributes.get("axes")
    return given is not None and list(given.value) == [-1]


def _norm(op: Any, x: Any, epsilon: Any, scale: Any, **_: Any) -> Any:
    return op.LayerNormalization(x, scale, axis=-1, epsilon=_number(epsilon))


def _biased(op: Any, x: Any, scale: Any, bias: Any) -> Any:
    return op.Add(op.LayerNormalization(x, scale, _outputs=["normal"]), bias)


def _check_bias(context: Any, scale: Any, bias: Any, **_: Any) -> MatchResult:
    result = MatchResult()
    ours, theirs = _held(scale), _held(bias)
    if ours is None or theirs is None or ours.shape != theirs.shape:
        return result.fail("the bias is not one constant per feature", bias)
    return result


def _with_bias(op: Any, x: Any, scale: Any, bias: Any, normal: Any) -> Any:
    return op.LayerNormalization(x, scale, bias, **normal.producer().attributes)


def _gelus() -> Iterator[tuple[Callable[..., Any], float]]:
    """Yield the patterns of a GELU, each with the constant inside the error function."""
    for is_quotient, place in product((False, True), range(3)):
        yield _gelu_pattern(is_quotient, place), math.sqrt(2.0 if is_quotient else 0.5)


def _gelu_pattern(is_quotient: bool, place: int) -> Callable[..., Any]:
    """Return a pattern in which ``half`` multiplies one of three factors."""

    def pattern(op: Any, x: Any, one: Any, half: Any, root: Any) -> Any:
        inner = op.Div(x, root) if is_quotient else op.Mul(x, root)
        grown = op.Add(op.Erf(inner), one)
        if place == 0:
            return op.Mul(op.Mul(x, half), grown)
        if place == 1:
            return op.Mul(x, op.Mul(grown, half))
        return op.Mul(op.Mul(x, grown), half)

    return pattern


def _check_gelu(
    inside: float, context: Any, one: Any, half: Any, root: Any, **_: Any
) -> MatchResult:
    result = MatchResult()
    for value, wanted in ((one, 1.0), (half, 0.5), (root, inside)):
        number = _number(value)
        if number is None or not abs(number - wanted) <= _ROUNDED * wanted:
            return result.fail("a constant is not that of GELU", value)
    return result


def _gelu(op: Any, x: Any, **_: Any) -> Any:
    return op.Gelu(x)


def _number(value: ir.Value) -> float | None:
    held = _held(value)
    return float(held.ravel()[0]) if held is not None and held.size == 1 else None


def _held(value: ir.Value | None) -> np.ndarray[Any, Any] | None:
    """Return a constant, which may stand behind operators that only move or cast it."""
    if value is None or value.const_value is not None:
        return None if value is None else value.const_value.numpy()
    node = value.producer()
    if node is None or node.op_type not in ("Identity", "Cast", "Reshape", "Transpose"):
        return None
    held = _held(node.inputs[0])
    if held is None or node.op_type in ("Identity", "Cast"):
        return held
    if node.op_type == "Transpose":
        order = node.attributes.get("perm")
        return held.transpose(None if order is None else order.value)
    sizes = _held(node.inputs[1])
    return None if sizes is None or 0 in sizes else held.reshape(sizes)
