"""The same files on several machines: one row per file, one column per machine and target."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.report.summary import CandidateRow, Section, typical
from benchmarks.report.table import ABSENT, Cell, median_cell
from benchmarks.report.units import Unit, millisecond_unit

# A column: index of the machine's section, and target.
_Place = tuple[int, str]


@dataclass(frozen=True)
class Machines:
    """The table. All figures are milliseconds.

    Attributes:
        headings: Machine and target of each column. Machines of equal names are numbered.
        rows: Name of each file, and one cell per column.
        differing: Names that belong to different files on one target.
    """

    headings: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    differing: tuple[str, ...]


def machines(sections: Sequence[Section]) -> Machines | None:
    """Return the medians of all machines; None with fewer than two machines.

    If a machine has several runs of a candidate, the last one counts.
    """
    if len(sections) < 2:
        return None
    found: dict[str, dict[_Place, CandidateRow]] = {}
    places: dict[_Place, None] = {}
    for place, row in _rows(sections):
        places[place] = None
        found.setdefault(_file_name(row), {})[place] = row
    titles = _titles(sections)
    # Sort by machine, as a later run of an earlier machine may add another target.
    columns = sorted(places, key=lambda place: place[0])
    units = {place: _unit(held.get(place) for held in found.values()) for place in columns}
    return Machines(
        tuple((titles[section], target) for section, target in columns),
        tuple(
            (name, tuple(_cell(held.get(place), units[place]) for place in columns))
            for name, held in found.items()
        ),
        tuple(name for name, held in found.items() if _differs(held)),
    )


def _rows(sections: Sequence[Section]) -> Iterator[tuple[_Place, CandidateRow]]:
    for index, section in enumerate(sections):
        for view in section.views:
            for row in view.rows:
                yield (index, row.measurement.candidate.target), row


def _file_name(row: CandidateRow) -> str:
    """Return the candidate's name without its target, which the column names."""
    return row.name.replace(f" on {row.measurement.candidate.target}", "", 1)


def _titles(sections: Sequence[Section]) -> list[str]:
    seen: Counter[str] = Counter()
    titles = []
    for section in sections:
        seen[section.title] += 1
        number = seen[section.title]
        titles.append(section.title if number == 1 else f"{section.title} ({number})")
    return titles


def _unit(rows: Iterable[CandidateRow | None]) -> Unit:
    """Choose the decimals of one column, as machines may differ by a factor of a hundred."""
    return millisecond_unit(median for row in rows if row and (median := typical(row)))


def _cell(row: CandidateRow | None, unit: Unit) -> Cell:
    if row is None:
        return Cell(ABSENT, reason="it was not measured on this machine")
    if row.measurement.error:
        return Cell("failed", reason="it failed")
    return median_cell(row, unit)


def _differs(held: dict[_Place, CandidateRow]) -> bool:
    """Return whether machines ran different files of this name on one target."""
    contents: dict[str, set[str]] = {}
    for (_, target), row in held.items():
        if row.measurement.artifact is not None:
            contents.setdefault(target, set()).add(row.measurement.artifact.sha256)
    return any(len(digests) > 1 for digests in contents.values())
