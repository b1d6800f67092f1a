"""A run on a terminal: a table, then warnings, missing figures and failures."""

import textwrap
from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.text import Text

from benchmarks.report.summary import RunView
from benchmarks.report.table import Cell, Column, absences, columns
from slide_deploy.terminal.console import table

_LONGEST_HEADER = 11


def render_terminal(view: RunView) -> Iterator[RenderableType]:
    """Yield the names, the table, and a line for each warning, missing figure and failure."""
    # Names come above the table, as they would be broken into many lines beside the figures.
    for row in view.rows:
        yield Text(f"{row.number:>3}  {row.name}")
    shown = columns(view)
    grid = table("", [("", True), *((_header(column), True) for column in shown)])
    for index, row in enumerate(view.rows):
        grid.add_row(str(row.number), *(_text(column.cells[index]) for column in shown))
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


def _header(column: Column) -> str:
    lines = textwrap.wrap(column.header, _LONGEST_HEADER)
    return "\n".join([*lines, column.unit] if column.unit else lines)


def _text(cell: Cell) -> str:
    return f"{cell.text}\n[dim]{escape(cell.detail)}[/]" if cell.detail else cell.text
