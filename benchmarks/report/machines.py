"""The same files on several machines, side by side: a row a file, a column a machine and target."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmarks.report.summary import BenchmarkReport, CandidateRow, Missing, typical
from benchmarks.report.table import ABSENT, Cell
from benchmarks.report.units import Unit, millisecond_unit

# What a figure is asked of: a file's name, and the column.
_Place = tuple[int, str]


@dataclass(frozen=True)
class Heading:
    """A column: a machine, told apart from others of its name, and a target."""

    machine: str
    target: str


@dataclass(frozen=True)
class Machines:
    """The table; all figures are milliseconds.

    Attributes:
        headings: of the columns.
        rows: names, and a cell a column.
        differing: names that stand for more than one file on a target.
    """

    headings: tuple[Heading, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    differing: tuple[str, ...]


def machines(report: BenchmarkReport) -> Machines | None:
    """Medians of all machines; None where there is one only.

    Where a machine has several runs of a candidate, the last one that was given counts.
    """
    if len(report.sections) < 2:
        return None
    found: dict[str, dict[_Place, CandidateRow]] = {}
    places: dict[_Place, None] = {}
    for place, row in _rows(report):
        places[place] = None
        found.setdefault(_file_name(row), {})[place] = row
    titles = _titles(report)
    # By machine, though a later run of an earlier machine may have brought another target.
    columns = sorted(places, key=lambda place: place[0])
    units = {place: _unit(held.get(place) for held in found.values()) for place in columns}
    return Machines(
        tuple(Heading(titles[section], target) for section, target in columns),
        tuple(
            (name, tuple(_cell(held.get(place), units[place]) for place in columns))
            for name, held in found.items()
        ),
        tuple(name for name, held in found.items() if _differs(held)),
    )


def _rows(report: BenchmarkReport) -> Iterator[tuple[_Place, CandidateRow]]:
    for index, section in enumerate(report.sections):
        for view in section.views:
            for row in view.rows:
                yield (index, row.measurement.candidate.target), row


def _file_name(row: CandidateRow) -> str:
    """The candidate's name without its target, which has a column of its own."""
    return row.name.replace(f" on {row.measurement.candidate.target}", "", 1)


def _titles(report: BenchmarkReport) -> list[str]:
    seen: Counter[str] = Counter()
    titles = []
    for section in report.sections:
        seen[section.title] += 1
        number = seen[section.title]
        titles.append(section.title if number == 1 else f"{section.title} ({number})")
    return titles


def _unit(rows: Iterable[CandidateRow | None]) -> Unit:
    """Decimals are a column's own: machines may be a hundred times apart."""
    return millisecond_unit(median for row in rows if row and (median := typical(row)))


def _cell(row: CandidateRow | None, unit: Unit) -> Cell:
    if row is None:
        return Cell(ABSENT, reason="it was not measured there")
    if row.measurement.error:
        return Cell("failed", reason="it failed")
    if isinstance(row.median, Missing):
        plain = typical(row)
        return Cell(ABSENT if plain is None else unit.number(plain), reason=row.median.reason)
    interval = row.median.interval
    return Cell(unit.number(row.median.value), unit.interval(interval.low, interval.high))


def _differs(held: dict[_Place, CandidateRow]) -> bool:
    """Whether two machines ran different files of this name on one target."""
    contents: dict[str, set[str]] = {}
    for (_, target), row in held.items():
        if row.measurement.artifact is not None:
            contents.setdefault(target, set()).add(row.measurement.artifact.sha256)
    return any(len(digests) > 1 for digests in contents.values())
