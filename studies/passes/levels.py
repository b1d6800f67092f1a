"""Ratios of files that were raced in several processes, with intervals.

The memory layout of a process makes it faster or slower than another process of the same file, by
one or two per cent for its whole life. A pass gains no more, and more rounds do not help. So each
file is raced in several processes. A level is the logarithm of a time minus the mean of all
candidates in that round:

    level of file c in race p = effect of c + effect of p + noise

The interval of a difference is Student's t, with the variance of the noise estimated from all files
of the races together (two-way analysis of variance without interaction).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from benchmarks.statistics import CONFIDENCE, Estimate, Interval, Rounds, levels

# The difference between processes needs two at least.
LEAST_PROCESSES = 2


class Levels:
    """The levels of files that were raced several times.

    Args:
        races: For each race, the samples by file and round. All races have the same files, two or
            more. There are two races or more.
    """

    def __init__(self, races: Sequence[Mapping[str, Rounds]]) -> None:
        self._names = list(races[0])
        found = [levels([race[name] for name in self._names]) for race in races]
        self._levels = np.stack(found, axis=1)  # (file, race)

    def ratio(self, over: str, under: str) -> Estimate:
        """Return time of the first file / time of the second."""
        files, races = self._levels.shape
        means = self._levels.mean(axis=1)
        value = means[self._names.index(over)] - means[self._names.index(under)]
        noise = self._levels - means[:, None] - self._levels.mean(axis=0) + self._levels.mean()
        freedom = (files - 1) * (races - 1)
        error = np.sqrt(2 * np.sum(noise**2) / freedom / races)
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * error)
        low, middle, high = (float(np.exp(each)) for each in (value - half, value, value + half))
        return Estimate(middle, Interval(low, high))
