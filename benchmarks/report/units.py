"""Figures as text. A column has one unit and one number of decimals, so that its figures align."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.record import Proof


@dataclass(frozen=True)
class Unit:
    """A unit and the decimals that show three figures of the smallest value."""

    name: str
    size: float
    decimals: int

    def number(self, value: float) -> str:
        """The value without the unit's name."""
        return f"{value / self.size:,.{self.decimals}f}"

    def text(self, value: float) -> str:
        """The value with the unit's name."""
        return f"{self.number(value)} {self.name}"

    def interval(self, low: float, high: float) -> str:
        """Both ends without the unit's name."""
        return f"{self.number(low)}–{self.number(high)}"


_TIMES = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
_BYTES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0))


def time_unit(seconds: Iterable[float]) -> Unit:
    """The unit for times that stand together."""
    return _unit(seconds, _TIMES)


def millisecond_unit(seconds: Iterable[float]) -> Unit:
    """Milliseconds, with the decimals that the smallest of these times needs."""
    return _unit(seconds, (("ms", 1e-3),))


def byte_unit(sizes: Iterable[float]) -> Unit:
    """The unit for sizes that stand together."""
    return _unit(sizes, _BYTES, most=1)


def rate_unit(rates: Iterable[float]) -> Unit:
    """The unit for images a second that stand together."""
    slowest = min((rate for rate in rates if rate > 0), default=1.0)
    return Unit("images/s", 1.0, _decimals(slowest, 2))


def time_text(seconds: float) -> str:
    """One time on its own."""
    return time_unit([seconds]).text(seconds)


def ratio_text(ratio: float) -> str:
    """A ratio: two decimals, or three figures where it is large."""
    return f"{ratio:.{_decimals(ratio, 2)}f}" if ratio >= 0.1 else f"{ratio:.2g}"


def interval_text(low: float, high: float) -> str:
    """Both ends of the interval of a ratio."""
    return f"{ratio_text(low)}–{ratio_text(high)}"


def exact_text(proof: Proof) -> str:
    """A proof without noise: of outputs that are equal, or of whole numbers, which may differ."""
    return "exact" if proof.relative == 0 else f"{100 * proof.relative:.2g} % differ"


def percent_text(share: float) -> str:
    """A share of 1, or above."""
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def _unit(values: Iterable[float], units: tuple[tuple[str, float], ...], most: int = 3) -> Unit:
    """The largest unit in which a value between them is 1 or more."""
    positive = [value for value in values if value > 0] or [1.0]
    typical = statistics.geometric_mean(positive)
    # 0.9999: the mean of one value may come out a last bit below it.
    name, size = next((unit for unit in units if typical >= 0.9999 * unit[1]), units[-1])
    return Unit(name, size, _decimals(min(positive) / size, most))


def _decimals(value: float, most: int) -> int:
    return min(max(2 - math.floor(math.log10(value)), 0), most)
