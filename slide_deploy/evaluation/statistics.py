"""Shares of pictures with intervals, and the difference of two shares of the same pictures.

With ``x`` of ``n`` pictures right, ``p = x / n`` and ``z`` the 97.5 % point of the normal
distribution, Wilson's interval of a share is

    (p + z²/2n ± z √(p (1 - p) / n + z²/4n²)) / (1 + z²/n)

Two files judge the same pictures, so their shares are not independent. The counts of pictures on
which both are right, one, the other, or neither, say how far they go together:

                     second right   second wrong
    first right           a              b            p1 = (a + b) / n
    first wrong           c              d            p2 = (a + c) / n

Newcombe's interval of ``p1 - p2`` squares and adds the distances to the Wilson limits of both
shares, less what the correlation ``φ`` of the two takes away:

    lower = p1 - p2 - √((p1 - l1)² - 2 φ (p1 - l1) (u2 - p2) + (u2 - p2)²)
    upper = p1 - p2 + √((u1 - p1)² - 2 φ (u1 - p1) (p2 - l2) + (p2 - l2)²)

McNemar's exact test asks whether ``b`` and ``c`` could be the two sides of a fair coin.

Sources: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212. R. G. Newcombe, Statistics in Medicine
17 (1998) 857-872 (method 3 for a share) and 2635-2650 (method 10 for a paired difference, with his
correction of φ). Q. McNemar, Psychometrika 12 (1947) 153-157. All intervals are of 95 %.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Share:
    """How many of some pictures, as a share with its interval.

    Attributes:
        count: of the pictures meant.
        of: all pictures.
        value: the share, NaN without any picture.
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
    """On how many pictures two files are right.

    Attributes:
        both: of them.
        first: alone.
        second: alone.
        neither: of them.
    """

    both: int
    first: int
    second: int
    neither: int

    @property
    def of(self) -> int:
        """All pictures."""
        return self.both + self.first + self.second + self.neither


@dataclass(frozen=True)
class Difference:
    """The share of the first file less that of the second, on the same pictures.

    Attributes:
        value: the difference of the shares, NaN without any picture.
        low: lower end of its 95 % interval.
        high: upper end.
        p: how probable so uneven a split of the pictures on which they differ is by chance.
    """

    value: float
    low: float
    high: float
    p: float


def share(count: int, of: int) -> Share:
    """A share with Wilson's interval; without pictures everything may be."""
    if not of:
        return Share(count, of, math.nan, 0.0, 1.0)
    p, z2 = count / of, _Z * _Z
    middle = p + z2 / (2 * of)
    half = _Z * math.sqrt(p * (1 - p) / of + z2 / (4 * of * of))
    scale = 1 + z2 / of
    # At both ends the limit is the end itself, which rounding would miss.
    low = 0.0 if count == 0 else (middle - half) / scale
    high = 1.0 if count == of else (middle + half) / scale
    return Share(count, of, p, low, high)


def difference(pairs: Pairs) -> Difference:
    """The difference of two shares with Newcombe's interval, and McNemar's exact test."""
    if not pairs.of:
        return Difference(math.nan, -1.0, 1.0, 1.0)
    first = share(pairs.both + pairs.first, pairs.of)
    second = share(pairs.both + pairs.second, pairs.of)
    value = (pairs.first - pairs.second) / pairs.of
    phi = _correlation(pairs)
    below = _together(first.value - first.low, second.high - second.value, phi)
    above = _together(first.high - first.value, second.value - second.low, phi)
    return Difference(value, value - below, value + above, exact_test(pairs.first, pairs.second))


def _together(ours: float, theirs: float, phi: float) -> float:
    # Rounding may leave a little less than nothing where both are equal and φ is 1.
    return math.sqrt(max(0.0, ours * ours - 2 * phi * ours * theirs + theirs * theirs))


def _correlation(pairs: Pairs) -> float:
    """Newcombe's φ, whose numerator is moved half a picture towards none where it is positive."""
    rows = (pairs.both + pairs.first) * (pairs.second + pairs.neither)
    columns = (pairs.both + pairs.second) * (pairs.first + pairs.neither)
    if not rows * columns:
        return 0.0
    numerator: float = pairs.both * pairs.neither - pairs.first * pairs.second
    if numerator > 0:
        numerator = max(numerator - pairs.of / 2, 0.0)
    return numerator / math.sqrt(rows * columns)


def exact_test(first: int, second: int) -> float:
    """McNemar's exact test, two-sided: twice the smaller tail of a fair coin, at most 1.

    Args:
        first: pictures on which the first alone is right.
        second: pictures on which the second alone is right.
    """
    tosses, fewer = first + second, min(first, second)
    # Through logarithms: a binomial of thousands of tosses leaves the range of floating point.
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
