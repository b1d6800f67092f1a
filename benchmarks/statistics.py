"""Figures with intervals that hold without assuming a distribution.

Calls of one round resemble each other more than those of another round: neighbours in time share
whatever else the machine does. An interval that takes them for independent is too narrow. So the
spread between rounds decides how many independent calls the sample is worth (Korn and Graubard,
"Confidence intervals for proportions with small expected number of positive counts estimated from
survey data", Survey Methodology 24, 1998), and the interval of a percentile is that of a
proportion, read back through the sample (Woodruff, "Confidence intervals for medians and
other position measures", JASA 47, 1952).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 4000
# Below that many rounds the resampled medians are too few to reach 95 %: 2 · 0.5⁶ = 3 %.
LEAST_ROUNDS = 6

Rounds = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Interval:
    """Where a figure lies with 95 % confidence."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval, in the unit of the sample; a ratio has none."""

    value: float
    interval: Interval

    @property
    def half_width(self) -> float:
        """Of the interval, as a share of the figure."""
        return (self.interval.high - self.interval.low) / 2 / self.value


def percentile(rounds: Rounds, share: float) -> Estimate | None:
    """The value that a share of the calls stay below.

    Args:
        rounds: samples of each round.
        share: 0.5 for the median.

    Returns:
        None where the sample cannot support it: where all of its calls together could, with more
        than 2.5 % probability, lie on one side of the percentile (a p99 takes 368 calls, if they
        are independent), or where the calls beyond it come from few rounds, so that they tell of
        those rounds rather than of the file.
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
    """All rounds where they hold the same number of calls, 1 where one round holds all.

    The inverse participation ratio (Σ c)² / Σ c², known as Kish's effective sample size.
    """
    counts = np.asarray(calls, float)
    return float(counts.sum() ** 2 / np.sum(counts**2))


def _independent_calls(rounds: Sequence[np.ndarray], value: float, share: float) -> float:
    """How many independent calls tell as much of the proportion below ``value``."""
    sizes = np.array([len(samples) for samples in rounds], float)
    calls, groups = sizes.sum(), len(rounds)
    if groups < 2:
        return float(calls)
    below = np.array([np.mean(samples <= value) for samples in rounds])
    spread = np.sum((sizes * (below - share)) ** 2) / calls**2 * groups / (groups - 1)
    if spread == 0:
        return float(calls)
    worth = min(calls, share * (1 - share) / spread)
    # Few rounds estimate their spread badly: Student's t of the rounds in place of the normal.
    tail = (1 + CONFIDENCE) / 2
    return float(worth * (stats.norm.ppf(tail) / stats.t.ppf(tail, groups - 1)) ** 2)


def paired_ratio(rounds: Rounds, baseline: Rounds, seed: int = 0) -> Estimate | None:
    """How many times slower than the baseline, round by round.

    The median over the rounds of the ratio of both candidates' medians; its interval by resampling
    the rounds (percentile bootstrap, Efron 1979; for a median it comes close to the exact interval
    of the order statistics).

    Returns:
        None with fewer than six rounds that both took part in.
    """
    ratios = _logs(rounds, baseline)
    if len(ratios) < LEAST_ROUNDS:
        return None
    chosen = np.random.default_rng(seed).integers(0, len(ratios), (RESAMPLES, len(ratios)))
    return _from_logs(float(np.median(ratios)), np.median(ratios[chosen], axis=1))


def _logs(rounds: Rounds, baseline: Rounds) -> np.ndarray:
    return np.array(
        [
            np.log(np.median(mine) / np.median(theirs))
            for mine, theirs in zip(rounds, baseline, strict=False)
            if len(mine) and len(theirs)
        ]
    )


def unpaired_ratio(rounds: Rounds, baseline: Rounds, seed: int = 0) -> Estimate | None:
    """How many times slower than the baseline, from two runs that share no rounds.

    Each side's rounds are resampled on their own. What the machine did between the runs is not in
    the interval: `compare` adds it.

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
    """A ratio whose interval also holds the machine's own noise, taken as independent.

    Args:
        estimate: a ratio.
        noise: half width of the 95 % interval of the ratio of two equal candidates, as a factor.
    """
    value, extra = np.log(estimate.value), np.log(noise)
    below = np.hypot(value - np.log(estimate.interval.low), extra)
    above = np.hypot(np.log(estimate.interval.high) - value, extra)
    return Estimate(
        estimate.value, Interval(float(np.exp(value - below)), float(np.exp(value + above)))
    )


def noise_of_equals(candidates: Sequence[Rounds]) -> float:
    """What equal candidates differ by: 95 % of their ratios lie within this factor.

    Each candidate's level is the mean of its rounds' log medians, after each round's own mean over
    all candidates is taken off. Levels scatter by s; the ratio of two by s·√2; Student's t, since
    there are few.

    Args:
        candidates: at least three, equal in everything but their process.
    """
    rounds = min(len(candidate) for candidate in candidates)
    logs = np.log(
        [[np.median(samples) for samples in candidate[:rounds]] for candidate in candidates]
    )
    levels = np.median(logs - logs.mean(axis=0), axis=1)
    scatter = float(np.std(levels, ddof=1))
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(candidates) - 1)
    return float(np.exp(quantile * scatter * np.sqrt(2)))
