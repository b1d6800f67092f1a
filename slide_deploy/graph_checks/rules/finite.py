"""SD015: weights hold no NaN, and no infinity unless the exported program has some."""

from collections.abc import Iterator

import numpy as np

from slide_deploy.graph_checks.census import valid_census
from slide_deploy.graph_checks.graph import Constant, Graph
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation

# Exponent bits of bfloat16, which numpy lacks. All ones mean NaN or infinity.
_BFLOAT16_EXPONENT = np.uint16(0x7F80)
_BFLOAT16_MANTISSA = np.uint16(0x007F)


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    if policy.constants.non_finite:
        return
    may_be_infinite = valid_census(graph.metadata).infinities
    what = "NaN" if may_be_infinite else "NaN or infinite"
    for constant in graph.stored:
        wrong = _non_finite(constant, may_be_infinite)
        if wrong:
            yield RULE.broken(f"{wrong} of its numbers are {what}.", constant.name)


def _non_finite(constant: Constant, may_be_infinite: bool) -> int:
    if constant.dtype == "bfloat16":
        bits = constant.load().view("<u2")
        special = (bits & _BFLOAT16_EXPONENT) == _BFLOAT16_EXPONENT
        if may_be_infinite:
            special &= (bits & _BFLOAT16_MANTISSA) != 0
        return int(np.count_nonzero(special))
    if constant.dtype not in ("float16", "float32", "float64"):
        return 0
    numbers = np.asarray(constant.array(), constant.dtype)
    return int(np.count_nonzero(np.isnan(numbers) if may_be_infinite else ~np.isfinite(numbers)))


RULE = Rule(
    id="SD015",
    name="FiniteWeights",
    title="Weights hold no NaN, and no infinity unless the exported program has some.",
    reason="A single one can spoil every output, and overflow in float16 creates them silently.",
    remedy="Export from a checkpoint with finite weights; keep float32 where float16 overflows.",
    check=_check,
)
