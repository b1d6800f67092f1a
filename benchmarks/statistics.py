"""Percentiles and ratios with confidence intervals that assume no distribution.

Calls of one round resemble each other more than calls of different rounds, because they share the
machine's load at that time. An interval that treats them as independent is too narrow. So the
spread between rounds gives the effective number of independent calls (Korn and Graubard,
"Confidence intervals for proportions with small expected number of positive counts estimated from
survey data", Survey Methodology 24, 1998). The interval of a percentile is the interval of a
proportion, mapped back to the sorted sample (Woodruff, "Confidence intervals for medians and
other position measures", JASA 47, 1952).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 4000
# Fewer rounds give no 95 % interval of a median: 2 · 0.5⁶ = 3 %, but 2 · 0.5⁵ = 6 %.
LEAST_ROUNDS = 6

Rounds = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval, in the unit of the sample. Ratios have no unit."""

    value: float
    interval: Interval

    @property
    def half_width(self) -> float:
        """Half the width of the interval, divided by the figure."""
        return (self.interval.high - self.interval.low) / 2 / self.value


def percentile(rounds: Rounds, share: float) -> Estimate | None:
    """Return a percentile of the samples of all rounds.

    Args:
        rounds: Samples of each round.
        share: 0.5 for the median, 0.99 for p99.

    Returns:
        None where the sample is too small. Either all of its calls could lie on one side of the
        percentile with a probability above 2.5 % (a p99 takes 368 independent calls), or the calls
        beyond the percentile come from few rounds, so that they describe those rounds, not the
        file.
    """
    filled = [np.asarray(samples, float) for samples in rounds if len(samples)]
    if not filled:
        return None
    pooled = np.sort(np.concatenate(filled))
    value = float(np.quantile(pooled, share, method="median_unbiased"))
    worth = _independent_calls(filled, value, share)
    tail = (1 - CONFIDENCE) / 2
    beyond = _rounds_that_count([np.count_nonzero(samples >= value) for samples in filled])
    before = _rounds_that_count([np.count_nonzero(samples <= value) for samples in filled])
    if max(share, 1 - share) ** worth > tail or min(beyond, before) < LEAST_ROUNDS:
        return None
    # Jeffreys' interval of the proportion; Brown, Cai and DasGupta, Statistical Science 16, 2001.
    below, above = worth * share, worth * (1 - share)
    low, high = stats.beta.ppf([tail, 1 - tail], below + 0.5, above + 0.5)
    ranks = [int(np.floor(len(pooled) * low)), int(np.ceil(len(pooled) * high)) - 1]
    first, last = np.clip(ranks, 0, len(pooled) - 1)
    return Estimate(value, Interval(float(pooled[first]), float(pooled[last])))


def _rounds_that_count(calls: Sequence[int | np.integer]) -> float:
    """Return the effective number of rounds, (Σ c)² / Σ c²: Kish's effective sample size.

    It equals the number of rounds if all hold the same number of calls, and 1 if one holds all.
    """
    counts = np.asarray(calls, float)
    return float(counts.sum() ** 2 / np.sum(counts**2))


def _independent_calls(rounds: Sequence[np.ndarray], value: float, share: float) -> float:
    """Return the number of independent calls that would estimate the share below as precisely."""
    sizes = np.array([len(samples) for samples in rounds], float)
    calls, groups = sizes.sum(), len(rounds)
    if groups < 2:
        return float(calls)
    below = np.array([np.mean(samples <= value) for samples in rounds])
    spread = np.sum((sizes * (below - share)) ** 2) / calls**2 * groups / (groups - 1)
    if spread == 0:
        return float(calls)
    worth = min(calls, share * (1 - share) / spread)
    # Few rounds give a poor estimate of their spread: Student's t instead of the normal.
    tail = (1 + CONFIDENCE) / 2
    return float(worth * (stats.norm.ppf(tail) / stats.t.ppf(tail, groups - 1)) ** 2)


def paired_ratio(rounds: Rounds, baseline: Rounds, seed: int = 0) -> Estimate | None:
    """Return how many times slower a candidate is than the baseline, paired round by round.

    The value is the median over rounds of the ratio of both medians. The interval comes from
    resampling the rounds (percentile bootstrap, Efron 1979). For a median it is close to the exact
    interval of the order statistics.

    Returns:
        None if both took part in fewer than six rounds.
    """
    pairs = [each for each in zip(rounds, baseline, strict=False) if all(map(len, each))]
    ratios = np.log([np.median(mine) / np.median(theirs) for mine, theirs in pairs])
    if len(ratios) < LEAST_ROUNDS:
        return None
    chosen = np.random.default_rng(seed).integers(0, len(ratios), (RESAMPLES, len(ratios)))
    return _from_logs(float(np.median(ratios)), np.median(ratios[chosen], axis=1))


def unpaired_ratio(rounds: Rounds, baseline: Rounds, seed: int = 0) -> Estimate | None:
    """Return how many times slower a candidate is than the baseline, from two separate runs.

    The rounds of each run are resampled separately. The interval does not include changes of the
    machine between the runs. `compare` adds them.

    Returns:
        None with fewer than six rounds on either side.
    """
    mine, theirs = (
        np.log([np.median(samples) for samples in side if len(samples)])
        for side in (rounds, baseline)
    )
    if min(len(mine), len(theirs)) < LEAST_ROUNDS:
        return None
    random = np.random.default_rng(seed)
    resampled = [
        np.median(side[random.integers(0, len(side), (RESAMPLES, len(side)))], axis=1)
        for side in (mine, theirs)
    ]
    value = float(np.median(mine) - np.median(theirs))
    return _from_logs(value, resampled[0] - resampled[1])


def _from_logs(value: float, resampled: np.ndarray) -> Estimate:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.exp(np.quantile(resampled, [tail, 1 - tail]))
    return Estimate(float(np.exp(value)), Interval(float(low), float(high)))


def widened(estimate: Estimate, noise: float) -> Estimate:
    """Widen the interval of a ratio by the machine's noise, taken as independent.

    Args:
        estimate: The ratio.
        noise: Half width of the 95 % interval of the ratio of two equal candidates, as a factor.
    """
    value, extra = np.log(estimate.value), np.log(noise)
    below = np.hypot(value - np.log(estimate.interval.low), extra)
    above = np.hypot(np.log(estimate.interval.high) - value, extra)
    return Estimate(
        estimate.value, Interval(float(np.exp(value - below)), float(np.exp(value + above)))
    )


def noise_of_equals(candidates: Sequence[Rounds]) -> float:
    """Return the factor within which 95 % of the ratios of equal candidates lie.

        level of a candidate = median over rounds of (its log median - mean of all in that round)
        noise                = exp(t · s · √2), s the standard deviation of the levels

    t is the quantile of Student's t, as there are few candidates.

    Args:
        candidates: Rounds of at least three candidates that differ only in their process.
    """
    scatter = float(np.std(levels(candidates), ddof=1))
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(candidates) - 1)
    return float(np.exp(quantile * scatter * np.sqrt(2)))


def levels(candidates: Sequence[Rounds]) -> np.ndarray:
    """Return the median over rounds of (log median - mean of all in that round), by candidate."""
    rounds = min(map(len, candidates))
    logs = np.log([[np.median(samples) for samples in each[:rounds]] for each in candidates])
    return np.asarray(np.median(logs - logs.mean(axis=0), axis=1))
