"""A run on a terminal: one table a run, then what makes its figures less trustworthy."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from benchmarks.report.summary import RunView
from benchmarks.report.table import Cell, absences, columns
from slide_deploy.console import table


def render_terminal(view: RunView) -> Iterator[RenderableType]:
    """The names, the table, then a line for each doubt, missing figure and failure."""
    # Above the table: beside so many figures a name would be cut into slices.
    for row in view.rows:
        yield Text(f"{row.number:>3}  {row.name}")
    yield _table(view)
    for row in view.rows:
        if row.measurement.error:
            yield Text(f"failed: {row.name}: {row.measurement.error}", style="bold red")
        for doubt in row.doubts:
            yield Text(f"note: {row.name}: {doubt}")
    for absence in absences(view):
        yield Text(f"note: {absence}", style="dim")


def _table(view: RunView) -> Table:
    shown = columns(view)
    headers = [
        (f"{column.header}\n{column.unit}" if column.unit else column.header, True)
        for column in shown
    ]
    grid = table("", [("", True), *headers])
    for index, row in enumerate(view.rows):
        cells = [_text(column.cells[index]) for column in shown]
        grid.add_row(str(row.number), *cells)
    return grid


def _text(cell: Cell) -> str:
    return f"{cell.text}\n[dim]{escape(cell.detail)}[/]" if cell.detail else cell.text
