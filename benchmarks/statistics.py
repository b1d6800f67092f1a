"""Stand-in: the estimates that reports need, with plain order statistics. To be replaced."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Interval:
    """Where the true value lies with 95 % confidence."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A value and its interval, in the unit of its input."""

    value: float
    interval: Interval


def percentile(rounds: Sequence[Sequence[float]], share: float) -> Estimate | None:
    """A quantile with its interval; None where the sample cannot support it."""
    ordered = sorted(sample for samples in rounds for sample in samples)
    count = len(ordered)
    half = 1.96 * math.sqrt(count * share * (1 - share))
    low, high = math.floor(count * share - half) - 1, math.ceil(count * share + half)
    if low < 0 or high >= count:
        return None
    return Estimate(ordered[int(count * share)], Interval(ordered[low], ordered[high]))


def paired_ratio(
    rounds: Sequence[Sequence[float]], baseline: Sequence[Sequence[float]]
) -> Estimate | None:
    """How many times slower than the baseline, round by round; None for fewer than three pairs."""
    pairs = [(a, b) for a, b in zip(rounds, baseline, strict=False) if a and b]
    logs = [math.log(median(a) / median(b)) for a, b in pairs]
    if len(logs) < 3:
        return None
    mean = sum(logs) / len(logs)
    spread = math.sqrt(sum((log - mean) ** 2 for log in logs) / (len(logs) - 1) / len(logs))
    low, high = mean - 2.2 * spread, mean + 2.2 * spread
    return Estimate(math.exp(mean), Interval(math.exp(low), math.exp(high)))
