"""Tables of ratios and medians for the performance page."""

import statistics
from collections.abc import Sequence

from benchmarks.generated_page import Grid
from benchmarks.record import Run
from benchmarks.statistics import percentile
from slide_deploy.terminal.console import figures, texts
from studies.performance.ratios import Found
from studies.performance.rows import NAMES

_RATIOS = (
    *texts("", "runtime", "ratio"),
    *figures("is", "from", "to", "at least", "aim", "limit"),
    *texts(""),
)


def ratios(found: Sequence[Found]) -> Grid:
    """Return a table of all ratios in the order of `rows.ROWS`."""
    return Grid(
        "Required and measured ratios",
        _RATIOS,
        tuple(map(_ratio, found)),
        "Medians over the rounds of the ratio of both candidates' medians, with 95 % intervals. "
        "If ours is the numerator, small is good, and *at least* means *at most*. *Limit* is the "
        "ratio of a file that is as fast as the matmuls of its network alone.",
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
    """Return a table of the medians of a run in milliseconds.

    A median has no interval if there are too few rounds for their spread.
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
    columns = figures("median, ms", "from", "to", "beyond loading, MiB")
    return Grid(title, (*texts("candidate"), *columns), tuple(rows))
