"""Weights are numbers: no NaN, no infinity."""

from collections.abc import Iterator

import numpy as np

from slide_deploy.graph_checks.graph import Constant, Graph
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation

# The exponent of a bfloat16, which numpy does not know; all ones mean NaN or infinity.
_BFLOAT16_EXPONENT = np.uint16(0x7F80)


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    if policy.allow_non_finite:
        return
    for constant in {constant.source: constant for constant in graph.constants.values()}.values():
        wrong = _non_finite(constant)
        if wrong:
            yield RULE.broken(f"{wrong} of its numbers are NaN or infinite.", constant.name)


def _non_finite(constant: Constant) -> int:
    if constant.dtype == "bfloat16":
        bits = constant.load().view("<u2")
        return int(np.count_nonzero((bits & _BFLOAT16_EXPONENT) == _BFLOAT16_EXPONENT))
    if constant.dtype not in ("float16", "float32", "float64"):
        return 0
    array = constant.array()
    if array is None:
        return 0
    return array.size - int(np.count_nonzero(np.isfinite(np.asarray(array, dtype=array.dtype))))


RULE = Rule(
    id="SD015",
    name="FiniteWeights",
    title="Weights hold no NaN and no infinity.",
    reason="One is enough to spoil every answer, and overflow in float16 makes them silently.",
    remedy="Export from a checkpoint with finite weights; keep float32 where float16 overflows.",
    check=_check,
)
