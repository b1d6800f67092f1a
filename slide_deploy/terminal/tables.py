"""Tables that fit the width that there is.

From wide to narrow: as it wants to be, texts and headers on several lines, less space between the
columns, and in the end no table but a list, an entry for each row. A figure or a name is never
broken, and no column is left out.
"""

import copy
from collections.abc import Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

# Left and right of each cell, from wide to narrow.
_PADDINGS = ((1, 1), (0, 1), (0, 0))
# The last text is prose, in which a longer word, a path say, may be broken.
_LONGEST_IN_PROSE = 24


class FittingTable(Table):
    """A table without vertical lines that chooses its form when it is printed.

    Args:
        title: above it, left; with markup.
    """

    def __init__(self, title: str) -> None:
        super().__init__(box=box.SIMPLE_HEAD)
        self._heading = title

    def add(self, header: str, figures: bool) -> None:
        """Append a column.

        Args:
            header: above it.
            figures: whether it holds figures, which stand right and in one line.
        """
        self.add_column(
            header, justify="right" if figures else "left", overflow="fold", no_wrap=figures
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Print the widest form that fits."""
        if self._heading:
            yield Text.from_markup(self._heading, style="bold", emoji=False)
        room = options.max_width
        wished = [max(map(_width, _cells(column))) for column in self.columns]
        least = [self._least(index) for index in range(len(self.columns))]
        for left, right in _PADDINGS:
            # A space for each line between the columns, and at both edges.
            inside = room - len(least) * (left + right + 1) - 1
            if sum(least) <= inside:
                grid = self._of_widths(_shared(least, wished, inside), (0, right, 0, left))
                yield from Table.__rich_console__(grid, console, options)
                return
        yield from self._entries(room)

    def _least(self, index: int) -> int:
        """The width that a column must have."""
        column = self.columns[index]
        header, *cells = _cells(column)
        if column.no_wrap:
            return max([_longest_word(header), *map(_width, cells)])
        words = max(map(_longest_word, (header, *cells)))
        return min(words, _LONGEST_IN_PROSE) if self._is_prose(index) else words

    def _is_prose(self, index: int) -> bool:
        """Whether this is the last column of text, behind a name."""
        texts = [number for number, column in enumerate(self.columns) if not column.no_wrap]
        return index > 0 and index == max(texts, default=0)

    def _of_widths(self, widths: Sequence[int], padding: tuple[int, int, int, int]) -> "Table":
        grid = copy.copy(self)
        grid.padding = padding
        grid.columns = [copy.copy(column) for column in self.columns]
        for column, width in zip(grid.columns, widths, strict=True):
            column.width, column.no_wrap = width, False
        return grid

    def _entries(self, room: int) -> Iterator[RenderableType]:
        """A list in place of the table: the first cell, below it the others by their headers."""
        yield ""
        for first, *rest in zip(*(column.cells for column in self.columns), strict=True):
            yield Text(" ").join(_text(first).split())
            entry = Table.grid(padding=(0, 2, 0, 0))
            entry.add_column(no_wrap=True)
            entry.add_column(overflow="fold")
            prose: list[Text] = []
            for index, cell in enumerate(map(_text, rest), 1):
                header = _text(self.columns[index].header)
                if not cell.plain:
                    continue
                if self._is_prose(index) and 6 + _width(header) + _width(cell) > room:
                    cell.no_wrap, cell.overflow = False, "fold"
                    prose.append(cell)
                else:
                    entry.add_row(header, cell)
            parts: list[Table | Text] = [entry] if entry.rows else []
            for part in (*parts, *prose):
                yield Padding(part, (0, 0, 0, 2))
        yield ""


def _cells(column: Column) -> list[Text]:
    """The header and the cells of a column."""
    return [_text(column.header), *map(_text, column.cells)]


def _text(cell: RenderableType) -> Text:
    return cell if isinstance(cell, Text) else Text.from_markup(str(cell), emoji=False)


def _width(text: Text) -> int:
    return max(map(cell_len, text.plain.split("\n")))


def _longest_word(text: Text) -> int:
    indent = len(text.plain) - len(text.plain.lstrip(" "))
    return max((indent + cell_len(word) for word in text.plain.split()), default=0)


def _shared(least: Sequence[int], wished: Sequence[int], room: int) -> list[int]:
    """Widths between the least and the wished; who wishes little gets it first.

    Args:
        least: of each column; their sum is not above ``room``.
        wished: of each column.
        room: for all of them.
    """
    widths = list(least)
    left = room - sum(least)
    hungry = sorted(range(len(least)), key=lambda index: wished[index] - least[index])
    for position, index in enumerate(hungry):
        given = min(max(wished[index] - least[index], 0), left // (len(hungry) - position))
        widths[index] += given
        left -= given
    return widths
