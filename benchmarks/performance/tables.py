"""The ratios as tables."""

import statistics
from collections.abc import Sequence

from benchmarks.generated_page import Grid
from benchmarks.performance.ratios import Found
from benchmarks.performance.rows import NAMES
from benchmarks.record import Run
from benchmarks.statistics import percentile

_RATIOS = (
    *(("", False), ("runtime", False), ("ratio", False), ("is", True), ("from", True)),
    *(("to", True), ("at least", True), ("aim", True), ("limit", True), ("", False)),
)


def ratios(found: Sequence[Found]) -> Grid:
    """All of them, in the order in which they are asked for."""
    return Grid(
        "What is asked for, and what is",
        _RATIOS,
        tuple(map(_ratio, found)),
        "Medians over the rounds of the ratio of both candidates' medians, with 95 % intervals. "
        "Where ours stands on top, small is good, and *at least* reads *at most*. *Limit* is the "
        "ratio of a file as fast as the matrix products of its network alone.",
    )


def _ratio(found: Found) -> tuple[str, ...]:
    row, interval = found.row, found.interval
    ends = ("", "") if interval is None else (f"{interval.low:.2f}", f"{interval.high:.2f}")
    return (
        row.subject,
        NAMES[row.target],
        row.ratio,
        "–" if found.value is None else f"{found.value:.2f}",
        *ends,
        "" if row.least is None else f"{row.least:.2f}",
        "" if row.aim is None else f"{row.aim:.2f}",
        "" if found.limit is None else f"{found.limit:.2f}",
        found.verdict,
    )


def medians(title: str, run: Run) -> Grid:
    """The candidates of a run in milliseconds.

    A median has no interval where its rounds are too few for how much they differ.
    """
    rows = []
    for each in run.measurements:
        median, pooled = percentile(each.samples, 0.5), each.pooled_samples
        memory = each.memory
        loaded = memory.loaded if memory else None
        peak = memory.peak if memory else None
        rows.append(
            (
                each.candidate.name,
                f"{statistics.median(pooled) / 1e6:.2f}" if pooled else "–",
                "–" if median is None else f"{median.interval.low / 1e6:.2f}",
                "–" if median is None else f"{median.interval.high / 1e6:.2f}",
                "–" if loaded is None or peak is None else f"{(peak - loaded) / 2**20:.0f}",
            )
        )
    headers = (("candidate", False), ("median, ms", True), ("from", True), ("to", True))
    return Grid(title, (*headers, ("beyond loading, MiB", True)), tuple(rows))
