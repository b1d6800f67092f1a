"""Measurements over time and over operators, thinned to what a plot can show."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.record import Measurement, OperatorTime, Round

MOST_KINDS = 15
# More points than this cannot be told apart on a phone.
_MOST_POINTS = 120


@dataclass(frozen=True)
class Point:
    """Seconds of the run, and the median seconds a call around that time."""

    time: float
    latency: float


@dataclass(frozen=True)
class OperatorKind:
    """All operators of one type.

    Attributes:
        name: of the type, as Conv.
        count: how many there are.
        seconds: what they take together.
        costliest: the one that takes the most.
    """

    name: str
    count: int
    seconds: float
    costliest: OperatorTime


@dataclass(frozen=True)
class OperatorBars:
    """A profile.

    Attributes:
        bars: the costliest types of operators, the costliest first.
        others: how many more types there are.
        others_seconds: what they take together.
        total: seconds of all.
    """

    bars: tuple[OperatorKind, ...]
    others: int
    others_seconds: float
    total: float


def round_medians(measurement: Measurement) -> tuple[Point, ...]:
    """The median of each round that has samples, at the round's start."""
    return tuple(
        Point(item.start, median(item.samples) / 1e9) for item in measurement.rounds if item.samples
    )


def sustained(measurement: Measurement) -> tuple[Point, ...]:
    """The long go as at most some hundred medians, from time 0."""
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
    """Its calls, spread evenly over its seconds: only their order was recorded."""
    step = item.seconds / max(len(item.samples), 1)
    return [
        Point(item.start + index * step, sample / 1e9) for index, sample in enumerate(item.samples)
    ]


def operator_bars(operators: Sequence[OperatorTime]) -> OperatorBars | None:
    """The costliest types of operators, and the rest as one sum; None without a profile."""
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
    """Its type without the kernel that stands behind it in brackets."""
    return item.operator.partition(" (")[0] or item.operator


def _kind(name: str, items: Sequence[OperatorTime]) -> OperatorKind:
    seconds = sum(item.nanoseconds for item in items) / 1e9
    return OperatorKind(name, len(items), seconds, max(items, key=lambda each: each.nanoseconds))
