"""A table of texts, the same on a terminal and on a page of the documentation."""

from dataclasses import dataclass

from rich.markup import escape

from slide_deploy.terminal.console import stdout, table


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        title: above it.
        headers: each with whether its column holds figures.
        rows: of cells.
        remark: how it is judged; may be empty.
    """

    title: str
    headers: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[str, ...], ...]
    remark: str = ""

    def print(self) -> None:
        """Print it."""
        shown = table(self.title, self.headers)
        for row in self.rows:
            shown.add_row(*map(escape, row))
        stdout().print(shown)
        if self.remark:
            stdout().print(self.remark, markup=False, soft_wrap=False)
