"""Formats figures. A column has one unit and one number of decimals, so that figures align."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """A unit, and the decimals that show three significant digits of the smallest value."""

    name: str
    size: float
    decimals: int

    def number(self, value: float) -> str:
        """Format a value without the unit's name."""
        return f"{value / self.size:,.{self.decimals}f}"

    def text(self, value: float) -> str:
        """Format a value with the unit's name."""
        return f"{self.number(value)} {self.name}"

    def interval(self, low: float, high: float) -> str:
        """Format both ends without the unit's name."""
        return f"{self.number(low)}–{self.number(high)}"


_TIMES = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
_BYTES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0))


def time_unit(seconds: Iterable[float]) -> Unit:
    """Choose the unit of a set of times."""
    return _unit(seconds, _TIMES)


def millisecond_unit(seconds: Iterable[float]) -> Unit:
    """Return milliseconds with the decimals that the smallest time needs."""
    return _unit(seconds, (("ms", 1e-3),))


def byte_unit(sizes: Iterable[float]) -> Unit:
    """Choose the unit of a set of sizes."""
    return _unit(sizes, _BYTES, most=1)


def rate_unit(rates: Iterable[float]) -> Unit:
    """Return images per second with the decimals that the lowest rate needs."""
    slowest = min((rate for rate in rates if rate > 0), default=1.0)
    return Unit("images/s", 1.0, _decimals(slowest, 2))


def time_text(seconds: float) -> str:
    """Format a single time."""
    return time_unit([seconds]).text(seconds)


def ratio_text(ratio: float) -> str:
    """Format a ratio with three significant digits and at most two decimals above 0.1."""
    return f"{ratio:.{_decimals(ratio, 2)}f}" if ratio >= 0.1 else f"{ratio:.2g}"


def interval_text(low: float, high: float) -> str:
    """Format the interval of a ratio."""
    return f"{ratio_text(low)}–{ratio_text(high)}"


def percent_text(share: float) -> str:
    """Format a share as a percentage."""
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def _unit(values: Iterable[float], units: tuple[tuple[str, float], ...], most: int = 3) -> Unit:
    """Return the largest unit in which the geometric mean of the values is 1 or more."""
    positive = [value for value in values if value > 0] or [1.0]
    typical = statistics.geometric_mean(positive)
    # 0.9999, as the mean of a single value may be smaller by a rounding error.
    name, size = next((unit for unit in units if typical >= 0.9999 * unit[1]), units[-1])
    return Unit(name, size, _decimals(min(positive) / size, most))


def _decimals(value: float, most: int) -> int:
    return min(max(2 - math.floor(math.log10(value)), 0), most)
