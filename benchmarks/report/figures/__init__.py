"""Plots as plotly figures: plain dicts that the page draws at its own width."""

from collections.abc import Iterator

from benchmarks.report.figures.accuracy import accuracy, accuracy_by_size
from benchmarks.report.figures.distribution import distribution
from benchmarks.report.figures.figure import Figure
from benchmarks.report.figures.operators import profile
from benchmarks.report.figures.over_time import drift, sustained
from benchmarks.report.figures.ratio import ratios
from benchmarks.report.summary import RunView

__all__ = ["Figure", "figures"]


def figures(view: RunView) -> Iterator[Figure]:
    """Yield every plot for which the run has data, in the order of the page."""
    for group in view.groups:
        if any(row.samples for row in group.rows):
            yield distribution(group)
    compared = ratios(view)
    if compared:
        yield compared
    yield from accuracy(view)
    yield from accuracy_by_size(view)
    for over_time in (drift, sustained):
        figure = over_time(view)
        if figure:
            yield figure
    for row in view.rows:
        if row.operators:
            yield profile(row, row.operators)
