"""The table of candidates as text cells, the same for every output format."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from benchmarks.record import Proof
from benchmarks.report.summary import CandidateRow, Missing, RunView, typical
from benchmarks.report.units import (
    Unit,
    byte_unit,
    interval_text,
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
    every = _columns(view.rows)
    return tuple(column for column in every if column.header in _LATENCY or _holds_figures(column))


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
    every = [
        _medians(rows),
        _times("p90", rows, lambda row: row.p90),
        _times("p99", rows, lambda row: row.p99),
        _ratios(rows),
        _numbers("throughput", rows, lambda row: row.throughput, rate_unit),
        _numbers("cold start", rows, lambda row: row.cold, time_unit),
        _numbers("peak memory", rows, lambda row: row.peak, byte_unit),
        _shares(rows),
        Column("proof", "largest error", tuple(map(_proof, rows))),
    ]
    if all(row.batch == row.streams == 1 for row in rows):
        every = [column for column in every if column.header != "throughput"]
    return every


def settings(row: CandidateRow) -> str:
    """Return threads, batch and streams of a candidate."""
    configuration = row.measurement.candidate.configuration
    parts = ["1 thread" if configuration.threads == 1 else f"{configuration.threads} threads"]
    if row.batch > 1:
        parts.append(f"batch {row.batch}")
    if row.streams > 1:
        parts.append(f"{row.streams} streams")
    return ", ".join(parts)


def _holds_figures(column: Column) -> bool:
    return any(cell.text != ABSENT for cell in column.cells)


def _medians(rows: Sequence[CandidateRow]) -> Column:
    """Return the medians, also those whose samples are too few for an interval."""
    column = _times("median", rows, lambda row: row.median)
    unit = time_unit(median for row in rows if (median := typical(row)))
    cells = (
        replace(cell, text=unit.number(plain)) if cell.reason and (plain := typical(row)) else cell
        for row, cell in zip(rows, column.cells, strict=True)
    )
    return replace(column, cells=tuple(cells))


def _times(
    header: str, rows: Sequence[CandidateRow], get: Callable[[CandidateRow], Estimate | Missing]
) -> Column:
    # The three latency columns share a unit, as readers compare them.
    unit = time_unit(median for row in rows if (median := typical(row)))
    return Column(header, unit.name, tuple(_time(get(row), unit) for row in rows))


def _time(figure: Estimate | Missing, unit: Unit) -> Cell:
    if isinstance(figure, Missing):
        return Cell(ABSENT, reason=figure.reason)
    interval = unit.interval(figure.interval.low, figure.interval.high)
    return Cell(unit.number(figure.value), interval)


def _ratios(rows: Sequence[CandidateRow]) -> Column:
    return Column("ratio", "to the first", tuple(map(_ratio, rows)))


def _ratio(row: CandidateRow) -> Cell:
    if row.baseline:
        return Cell("1", "the first")
    if isinstance(row.ratio, Missing):
        return Cell(ABSENT, reason=row.ratio.reason)
    interval = row.ratio.interval
    return Cell(ratio_text(row.ratio.value), interval_text(interval.low, interval.high))


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


def _numbers(
    header: str,
    rows: Sequence[CandidateRow],
    get: Callable[[CandidateRow], float | Missing],
    unit_of: Callable[[Iterable[float]], Unit],
) -> Column:
    figures = [get(row) for row in rows]
    unit = unit_of(item for item in figures if not isinstance(item, Missing))
    cells = tuple(
        Cell(ABSENT, reason=item.reason) if isinstance(item, Missing) else Cell(unit.number(item))
        for item in figures
    )
    return Column(header, unit.name, cells)


def _shares(rows: Sequence[CandidateRow]) -> Column:
    cells = tuple(
        Cell(ABSENT, reason=row.share.reason)
        if isinstance(row.share, Missing)
        else Cell(percent_text(row.share))
        for row in rows
    )
    return Column("share of limit", "", cells)
