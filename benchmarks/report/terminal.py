"""A run on a terminal: a table, then warnings, missing figures and failures."""

import textwrap
from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from benchmarks.report.summary import RunView
from benchmarks.report.table import Cell, Column, absences, columns
from slide_deploy.terminal.console import WIDTH, table

# Columns to leave out if the table is too wide, the least important first.
_EXPENDABLE = ("cold start", "peak memory", "p90", "share of limit", "throughput")
_LONGEST_HEADER = 11


def render_terminal(view: RunView, width: int = WIDTH) -> Iterator[RenderableType]:
    """Yield the names, the table, and a line for each warning, missing figure and failure.

    Args:
        view: View of the run.
        width: Maximum width of the table in characters.
    """
    # Names come above the table, as they would be broken into many lines beside the figures.
    for row in view.rows:
        yield Text(f"{row.number:>3}  {row.name}")
    grid, left_out = _fitting(view, width)
    yield grid
    for row in view.rows:
        if row.measurement.error:
            yield Text(f"failed: {row.name}: {row.measurement.error}", style="bold red")
        for warning in row.warnings:
            yield Text(f"note: {row.name}: {warning}")
    for absence in absences(view):
        yield Text(f"note: {absence}", style="dim")
    if any(row.operators for row in view.rows):
        yield Text("note: --html and --markdown show the times of operators", style="dim")
    if left_out:
        headers = ", ".join(left_out)
        yield Text(f"note: no room for {headers}: use --html or --markdown", style="dim")


def _fitting(view: RunView, width: int) -> tuple[Table, tuple[str, ...]]:
    """Return the widest table that fits, and the headers that it leaves out.

    Intervals are broken after their dash before columns are left out. Numbers are never cut.
    """
    shown = columns(view)
    grid = _table(view, shown, broken=False)
    left_out: list[str] = []
    if _width(grid) > width:
        grid = _table(view, shown, broken=True)
    for header in _EXPENDABLE:
        if _width(grid) <= width:
            break
        if any(column.header == header for column in shown):
            left_out.append(header)
            shown = tuple(column for column in shown if column.header != header)
            grid = _table(view, shown, broken=True)
    return grid, tuple(left_out)


def _width(grid: Table) -> int:
    # Measured on a wide console, as a narrow one would shrink the table.
    return Console(width=1000).measure(grid).maximum


def _table(view: RunView, shown: Sequence[Column], broken: bool) -> Table:
    grid = table("", [("", True), *((_header(column), True) for column in shown)])
    for index, row in enumerate(view.rows):
        cells = [_text(column.cells[index], broken) for column in shown]
        grid.add_row(str(row.number), *cells)
    return grid


def _header(column: Column) -> str:
    lines = textwrap.wrap(column.header, _LONGEST_HEADER)
    return "\n".join([*lines, column.unit] if column.unit else lines)


def _text(cell: Cell, broken: bool) -> str:
    detail = cell.detail.replace("–", "–\n") if broken else cell.detail
    return f"{cell.text}\n[dim]{escape(detail)}[/]" if detail else cell.text
