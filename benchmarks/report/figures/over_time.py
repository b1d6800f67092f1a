"""Latency over time: over rounds, which shows drift, and in a long run, which shows throttling.

Rows show changes relative to their own level, so that candidates of different speed share a scale.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.report.figures.figure import Figure, IntervalBand, Rows, Spec, behind, hover
from benchmarks.report.palette import LINE, series
from benchmarks.report.series import Point
from benchmarks.report.summary import CandidateRow, RunView
from benchmarks.report.units import time_text, time_unit

# Smallest range of the scale, so that small changes look small.
_LEAST_REACH = 0.05
_MOST_MARKERS = 60


@dataclass(frozen=True)
class Reach:
    """Lowest and highest change in a plot. All its rows have this range."""

    low: float
    high: float

    def place(self, change: float, band: IntervalBand) -> float:
        """Return the position of a change in its row."""
        return band.low + band.height * (change - self.low) / (self.high - self.low)


def drift(view: RunView) -> Figure | None:
    """Plot the medians of rounds; None if no candidate has two rounds."""
    caption = "Median of each round relative to the candidate's median of all rounds."
    return _figure(
        "Drift over the run", caption, view.rows, lambda row: row.rounds, _overall, _reach
    )


def sustained(view: RunView) -> Figure | None:
    """Plot the long runs without rests; None if there is none."""
    caption = "Without rests, relative to the first tenth of the time."
    return _figure(
        "Sustained load", caption, view.rows, lambda row: row.sustained, _beginning, _change
    )


def _figure(
    title: str,
    caption: str,
    rows: Sequence[CandidateRow],
    points_of: Callable[[CandidateRow], tuple[Point, ...]],
    level_of: Callable[[Sequence[Point]], float],
    value_of: Callable[[Sequence[float], float], str],
) -> Figure | None:
    shown = [(row, points) for row in rows if len(points := points_of(row)) > 1]
    if not shown:
        return None
    place = Rows(len(shown), 62)
    changes = {
        row.number: [point.latency / level_of(points) - 1 for point in points]
        for row, points in shown
    }
    every = [value for held in changes.values() for value in held]
    reach = Reach(min(-_LEAST_REACH, *every), max(_LEAST_REACH, *every))
    traces: list[Spec] = []
    labels: list[Spec] = []
    shapes: list[Spec] = []
    for index, (row, points) in enumerate(shown):
        band = place.band(index)
        zero = reach.place(0, band)
        line = {"color": LINE.light, "width": 1.2}
        shapes.append(behind("line", (0, 1), (zero, zero), line, xref="paper"))
        traces.append(_line(row, points, changes[row.number], band, reach))
        value = value_of(changes[row.number], level_of(points))
        labels += place.labels(index, row.name, value)
    layout = place.layout({"title": "seconds"}, labels, shapes=shapes)
    text = f"{caption} Each row ranges from {_signed(reach.low)} to {_signed(reach.high)}."
    return Figure(title, (text,), {"data": traces, "layout": layout})


def _overall(points: Sequence[Point]) -> float:
    return median(point.latency for point in points)


def _beginning(points: Sequence[Point]) -> float:
    return median(point.latency for point in points[: max(len(points) // 10, 1)])


def _reach(changes: Sequence[float], level: float) -> str:
    return f"{_signed(min(changes))} to {_signed(max(changes))}"


def _change(changes: Sequence[float], level: float) -> str:
    last = median(changes[-max(len(changes) // 10, 1) :])
    unit = time_unit([level])
    return f"{unit.number(level)} → {unit.text(level * (1 + last))}"


def _signed(share: float) -> str:
    return f"{share:+.1%}".replace("-", "−")


def _line(
    row: CandidateRow,
    points: Sequence[Point],
    changes: Sequence[float],
    band: IntervalBand,
    reach: Reach,
) -> Spec:
    colour = series(row.number).light
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(points) <= _MOST_MARKERS else "lines",
        "x": [round(point.time, 3) for point in points],
        "y": [round(reach.place(change, band), 4) for change in changes],
        "line": {"color": colour, "width": 1.6},
        "marker": {"color": colour, "size": 5},
        "hoverinfo": "text",
        "hovertext": [
            hover(
                row.name, f"at {point.time:.0f} s", f"{time_text(point.latency)}, {_signed(change)}"
            )
            for point, change in zip(points, changes, strict=True)
        ],
    }
