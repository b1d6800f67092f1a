"""Measurements over time and by operator, reduced to the points that a plot can show."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.record import Measurement, OperatorTime, Round

MOST_KINDS = 15
# A phone cannot show more points.
_MOST_POINTS = 120


@dataclass(frozen=True)
class Point:
    """Seconds since the start, and the median seconds per call around that time."""

    time: float
    latency: float


@dataclass(frozen=True)
class OperatorKind:
    """All operators of one type.

    Attributes:
        name: Name of the type, such as Conv.
        count: Number of operators.
        seconds: Their total time.
        costliest: The slowest one.
    """

    name: str
    count: int
    seconds: float
    costliest: OperatorTime


@dataclass(frozen=True)
class OperatorBars:
    """A profile by type of operator.

    Attributes:
        bars: The types that take the most time, the slowest first.
        others: Number of the remaining types.
        others_seconds: Total seconds of the remaining types.
        total: Total seconds of all types.
    """

    bars: tuple[OperatorKind, ...]
    others: int
    others_seconds: float
    total: float


def round_medians(measurement: Measurement) -> tuple[Point, ...]:
    """Return the median of each round with samples, at the start of the round."""
    return tuple(
        Point(item.start, median(item.samples) / 1e9) for item in measurement.rounds if item.samples
    )


def sustained(measurement: Measurement) -> tuple[Point, ...]:
    """Return the long run without rests as at most 120 medians, from time 0."""
    calls = [call for item in measurement.sustained for call in _over_time(item)]
    if not calls:
        return ()
    begin = measurement.sustained[0].start
    size = -(-len(calls) // _MOST_POINTS)
    chunks = [calls[index : index + size] for index in range(0, len(calls), size)]
    return tuple(
        Point(chunk[0].time - begin, median(call.latency for call in chunk)) for chunk in chunks
    )


def _over_time(item: Round) -> list[Point]:
    """Spread the calls of a round evenly over its duration, as only their order is recorded."""
    step = item.seconds / max(len(item.samples), 1)
    return [
        Point(item.start + index * step, sample / 1e9) for index, sample in enumerate(item.samples)
    ]


def operator_bars(operators: Sequence[OperatorTime]) -> OperatorBars | None:
    """Return the slowest types of operators and the sum of the rest; None without a profile."""
    total = sum(item.nanoseconds for item in operators) / 1e9
    if not total:
        return None
    alike: dict[str, list[OperatorTime]] = {}
    for item in operators:
        alike.setdefault(_type(item), []).append(item)
    kinds = [_kind(name, items) for name, items in alike.items()]
    kinds.sort(key=lambda kind: kind.seconds, reverse=True)
    rest = kinds[MOST_KINDS:]
    return OperatorBars(
        tuple(kinds[:MOST_KINDS]), len(rest), sum(kind.seconds for kind in rest), total
    )


def _type(item: OperatorTime) -> str:
    """Return the type of an operator without the kernel in brackets."""
    return item.operator.partition(" (")[0] or item.operator


def _kind(name: str, items: Sequence[OperatorTime]) -> OperatorKind:
    seconds = sum(item.nanoseconds for item in items) / 1e9
    return OperatorKind(name, len(items), seconds, max(items, key=lambda each: each.nanoseconds))
