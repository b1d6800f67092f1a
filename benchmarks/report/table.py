"""The table of candidates as text cells, the same for every output format."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from benchmarks.record import Proof
from benchmarks.report.summary import CandidateRow, Missing, RunView, typical
from benchmarks.report.units import (
    Unit,
    byte_unit,
    percent_text,
    rate_unit,
    ratio_text,
    time_unit,
)
from benchmarks.statistics import Estimate

ABSENT = "–"
UNPROVEN = "unproven"
_LATENCY = ("median", "p90", "p99")


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: The figure.
        detail: Its interval, shown below or after it.
        reason: Why there is no figure, or no interval.
    """

    text: str
    detail: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Column:
    """A header, its unit or explanation, and one cell per row."""

    header: str
    unit: str
    cells: tuple[Cell, ...]


def columns(view: RunView) -> tuple[Column, ...]:
    """Return the latency columns, and the other columns that contain a figure."""
    return tuple(
        column
        for column in _columns(view.rows)
        if column.header in _LATENCY or any(each.text != ABSENT for each in column.cells)
    )


def absences(view: RunView) -> tuple[str, ...]:
    """Return why figures are missing, also in hidden columns. Failed candidates are left out."""
    # From (columns, reason) to the numbers of the rows.
    found: dict[tuple[str, str], list[int]] = {}
    every = _columns(view.rows)
    for index, row in enumerate(view.rows):
        if row.measurement.error:
            continue
        reasons: dict[str, list[str]] = {}
        for column in every:
            if reason := column.cells[index].reason:
                shown = column.cells[index].text != ABSENT
                what = f"interval of the {column.header}" if shown else column.header
                reasons.setdefault(reason, []).append(what)
        for reason, headers in reasons.items():
            found.setdefault((", ".join(headers), reason), []).append(row.number)
    return tuple(
        f"{headers} of {_spans(numbers)}: {reason}" for (headers, reason), numbers in found.items()
    )


def _spans(numbers: Sequence[int]) -> str:
    """Format ascending numbers with spans: 1–3, 5."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][-1] == number - 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    texts = (f"{span[0]}–{span[-1]}" if len(span) > 1 else str(span[0]) for span in spans)
    return ", ".join(texts)


def _columns(rows: Sequence[CandidateRow]) -> list[Column]:
    # The three latency columns share a unit, as readers compare them.
    times = time_unit(median for row in rows if (median := typical(row)))
    ratios = [
        Cell("1", "the first") if row.baseline else cell(row.ratio, ratio_text) for row in rows
    ]
    every = [
        Column("median", times.name, tuple(median_cell(row, times) for row in rows)),
        Column("p90", times.name, tuple(cell(row.p90, times.number) for row in rows)),
        Column("p99", times.name, tuple(cell(row.p99, times.number) for row in rows)),
        Column("ratio", "to the first", tuple(ratios)),
        _numbers("cold start", [row.cold for row in rows], time_unit),
        _numbers("peak memory", [row.peak for row in rows], byte_unit),
        Column("share of limit", "", tuple(cell(row.share, percent_text) for row in rows)),
        Column("proof", "largest error", tuple(map(_proof, rows))),
    ]
    if any(row.batch > 1 or row.streams > 1 for row in rows):
        every.insert(4, _numbers("throughput", [row.throughput for row in rows], rate_unit))
    return every


def cell(figure: Estimate | float | Missing, number: Callable[[float], str]) -> Cell:
    """Return the cell of a figure; ``number`` formats it and the ends of its interval."""
    if isinstance(figure, Missing):
        return Cell(ABSENT, reason=figure.reason)
    if not isinstance(figure, Estimate):
        return Cell(number(figure))
    interval = figure.interval
    return Cell(number(figure.value), f"{number(interval.low)}–{number(interval.high)}")


def median_cell(row: CandidateRow, unit: Unit) -> Cell:
    """Return the cell of a median, also of one whose samples are too few for an interval."""
    found, plain = cell(row.median, unit.number), typical(row)
    return replace(found, text=unit.number(plain)) if found.reason and plain else found


def _numbers(
    header: str, figures: Sequence[float | Missing], unit_of: Callable[[Iterable[float]], Unit]
) -> Column:
    unit = unit_of(item for item in figures if not isinstance(item, Missing))
    return Column(header, unit.name, tuple(cell(item, unit.number) for item in figures))


def settings(row: CandidateRow) -> str:
    """Return threads, batch and streams of a candidate."""
    configuration = row.measurement.candidate.configuration
    parts = ["1 thread" if configuration.threads == 1 else f"{configuration.threads} threads"]
    if row.batch > 1:
        parts.append(f"batch {row.batch}")
    if row.streams > 1:
        parts.append(f"{row.streams} streams")
    return ", ".join(parts)


def _proof(row: CandidateRow) -> Cell:
    proof = row.measurement.proof
    if row.measurement.error and proof is None:
        return Cell(ABSENT, reason="it failed")
    if proof is None:
        return Cell(UNPROVEN)
    if proof.snr_db is None:
        return Cell(without_noise(proof))
    return Cell(f"{proof.relative:.0e}".replace("e-0", "e-"), f"{proof.snr_db:.0f} dB")


def without_noise(proof: Proof) -> str:
    """Return the figure of a proof without a signal-to-noise ratio."""
    return "exact" if proof.relative == 0 else f"{percent_text(proof.relative)} differ"
