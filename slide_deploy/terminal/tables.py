"""Tables that fit the width of the terminal.

As the width shrinks, a table wraps texts and headers, then narrows the space between its columns,
and finally becomes a list with an entry for each row. Figures and names are never broken, and no
column is left out.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

# Padding to the left and right of each cell, from wide to narrow.
_PADDINGS = ((1, 1), (0, 1), (0, 0))
# The last text column is prose. Longer words in it, such as paths, may be broken.
_LONGEST_IN_PROSE = 24


class FittingTable(Table):
    """A table without vertical lines that chooses its layout when it is printed.

    Args:
        title: text above the table, left-aligned, with markup.
        columns: for each column its header, and whether it holds figures, which are right-aligned
            and never wrapped.
    """

    def __init__(self, title: str, columns: Iterable[tuple[str, bool]]) -> None:
        super().__init__(box=box.SIMPLE_HEAD)
        self._heading = title
        for header, figures in columns:
            justify: JustifyMethod = "right" if figures else "left"
            self.add_column(header, justify=justify, overflow="fold", no_wrap=figures)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Print the widest layout that fits."""
        if self._heading:
            yield Text.from_markup(self._heading, style="bold", emoji=False)
        room = options.max_width
        preferred = [max(map(_width, _cells(column))) for column in self.columns]
        least = [self._least(index) for index in range(len(self.columns))]
        for left, right in _PADDINGS:
            # One space for each line between the columns, and one at each edge.
            inside = room - len(least) * (left + right + 1) - 1
            if sum(least) <= inside:
                grid = self._of_widths(_shared(least, preferred, inside), (0, right, 0, left))
                yield from Table.__rich_console__(grid, console, options)
                return
        yield from self._entries(room)

    def _least(self, index: int) -> int:
        """Return the smallest width of a column."""
        column = self.columns[index]
        header, *cells = _cells(column)
        if column.no_wrap:
            return max([_longest_word(header), *map(_width, cells)])
        words = max(map(_longest_word, (header, *cells)))
        return min(words, _LONGEST_IN_PROSE) if self._is_prose(index) else words

    def _is_prose(self, index: int) -> bool:
        """Whether this is the last text column and not the first column."""
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
        """Yield each row as a list entry: its first cell, then the others with their headers."""
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
    """Return the header and the cells of a column."""
    return [_text(column.header), *map(_text, column.cells)]


def _text(cell: RenderableType) -> Text:
    return cell if isinstance(cell, Text) else Text.from_markup(str(cell), emoji=False)


def _width(text: Text) -> int:
    return max(map(cell_len, text.plain.split("\n")))


def _longest_word(text: Text) -> int:
    indent = len(text.plain) - len(text.plain.lstrip(" "))
    return max((indent + cell_len(word) for word in text.plain.split()), default=0)


def _shared(least: Sequence[int], preferred: Sequence[int], room: int) -> list[int]:
    """Distribute the width; columns that need little more than their minimum come first.

    Args:
        least: minimum width of each column; their sum is at most ``room``.
        preferred: preferred width of each column.
        room: total width.

    Returns:
        A width for each column, between its minimum and its preferred width.
    """
    widths = list(least)
    left = room - sum(least)
    by_need = sorted(range(len(least)), key=lambda index: preferred[index] - least[index])
    for position, index in enumerate(by_need):
        given = min(max(preferred[index] - least[index], 0), left // (len(by_need) - position))
        widths[index] += given
        left -= given
    return widths
