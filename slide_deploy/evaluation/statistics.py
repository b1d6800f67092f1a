"""Accuracies with confidence intervals, and the difference of two on the same images.

With ``x`` of ``n`` images correct, ``p = x / n`` and ``z`` the 97.5 % point of the normal
distribution, Wilson's interval of a proportion is

    (p + z²/2n ± z √(p (1 - p) / n + z²/4n²)) / (1 + z²/n)

Two files classify the same images, so their accuracies are not independent. The numbers of images
on which both, one or neither is correct measure the dependence:

                     second correct   second wrong
    first correct         a              b            p1 = (a + b) / n
    first wrong           c              d            p2 = (a + c) / n

Newcombe's interval of ``p1 - p2`` combines the distances to the Wilson limits of both proportions
with their correlation ``φ``:

    lower = p1 - p2 - √((p1 - l1)² - 2 φ (p1 - l1) (u2 - p2) + (u2 - p2)²)
    upper = p1 - p2 + √((u1 - p1)² - 2 φ (u1 - p1) (p2 - l2) + (p2 - l2)²)

McNemar's exact test is a two-sided binomial test of ``b`` against ``c`` with probability 1/2.

Sources: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212. R. G. Newcombe, Statistics in Medicine
17 (1998) 857-872 (method 3 for a proportion) and 2635-2650 (method 10 for a paired difference, with
his correction of φ). Q. McNemar, Psychometrika 12 (1947) 153-157. All intervals are of 95 %.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Share:
    """A proportion of images with its confidence interval.

    Attributes:
        count: number of images counted.
        of: number of all images.
        value: the proportion; NaN if there are no images.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    count: int
    of: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Pairs:
    """Numbers of images on which two files are correct.

    Attributes:
        both: both are correct.
        first: only the first is.
        second: only the second is.
        neither: neither is.
    """

    both: int
    first: int
    second: int
    neither: int

    @property
    def of(self) -> int:
        """Number of all images."""
        return self.both + self.first + self.second + self.neither


@dataclass(frozen=True)
class Difference:
    """Accuracy of the first file minus that of the second, on the same images.

    Attributes:
        value: the difference; NaN if there are no images.
        low: lower end of its 95 % interval.
        high: upper end.
        p: p-value of McNemar's exact test.
    """

    value: float
    low: float
    high: float
    p: float


def share(count: int, of: int) -> Share:
    """A proportion with Wilson's interval; without images the interval is 0 to 1."""
    if not of:
        return Share(count, of, math.nan, 0.0, 1.0)
    p, z2 = count / of, _Z * _Z
    middle = p + z2 / (2 * of)
    half = _Z * math.sqrt(p * (1 - p) / of + z2 / (4 * of * of))
    scale = 1 + z2 / of
    # At 0 and 1 the limit is exact; rounding would miss it.
    low = 0.0 if count == 0 else (middle - half) / scale
    high = 1.0 if count == of else (middle + half) / scale
    return Share(count, of, p, low, high)


def difference(pairs: Pairs) -> Difference:
    """The difference of two accuracies with Newcombe's interval and McNemar's exact test."""
    if not pairs.of:
        return Difference(math.nan, -1.0, 1.0, 1.0)
    first = share(pairs.both + pairs.first, pairs.of)
    second = share(pairs.both + pairs.second, pairs.of)
    value = (pairs.first - pairs.second) / pairs.of
    phi = _correlation(pairs)
    below = _combined(first.value - first.low, second.high - second.value, phi)
    above = _combined(first.high - first.value, second.value - second.low, phi)
    return Difference(value, value - below, value + above, exact_test(pairs.first, pairs.second))


def _combined(ours: float, theirs: float, phi: float) -> float:
    # Rounding can make the sum slightly negative if both are equal and φ is 1.
    return math.sqrt(max(0.0, ours * ours - 2 * phi * ours * theirs + theirs * theirs))


def _correlation(pairs: Pairs) -> float:
    """Newcombe's φ, with his continuity correction of n/2 where the numerator is positive."""
    rows = (pairs.both + pairs.first) * (pairs.second + pairs.neither)
    columns = (pairs.both + pairs.second) * (pairs.first + pairs.neither)
    if not rows * columns:
        return 0.0
    numerator: float = pairs.both * pairs.neither - pairs.first * pairs.second
    if numerator > 0:
        numerator = max(numerator - pairs.of / 2, 0.0)
    return numerator / math.sqrt(rows * columns)


def exact_test(first: int, second: int) -> float:
    """McNemar's exact test, two-sided: twice the smaller binomial tail, at most 1.

    Args:
        first: images on which only the first is correct.
        second: images on which only the second is correct.
    """
    tosses, fewer = first + second, min(first, second)
    # Computed in logarithms: a binomial coefficient of thousands overflows floating point.
    tail = math.fsum(
        math.exp(
            math.lgamma(tosses + 1)
            - math.lgamma(heads + 1)
            - math.lgamma(tosses - heads + 1)
            - tosses * math.log(2)
        )
        for heads in range(fewer + 1)
    )
    return min(1.0, 2 * tail)
