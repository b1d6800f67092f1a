"""A table of images: a CSV file with the path and the class of each.

Columns are separated by commas, semicolons or tabs, or in a ``.txt`` file also by spaces, as in
ImageNet's own lists. With a header line, the columns may be in any order, and there may be others.
Without one, the path is first and the class second.
"""

import csv
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.files.reading import read_text

_PATHS = (
    *("path", "file", "filename", "file_name", "fname", "filepath"),
    *("image", "image_path", "img", "img_path", "picture"),
)
_LABELS = ("label", "class", "class_id", "class_name", "category", "target", "index")
# With one of these in the second column, the first line is a header, whatever the first column is.
_SURE_LABELS = ("label", "class", "category", "target")
_DELIMITERS = (",", ";", "\t")


def read_table(path: Path) -> list[tuple[str, str | None]]:
    """Read the rows of a table: the path as written, and the class or None.

    Raises:
        InputError: the file cannot be read, has more than two columns and no header, or has a row
            without a path, without a class if others have one, or with the path of an earlier row.
    """
    rows = _rows(path)
    if not rows:
        raise InputError(f"{path} is empty: give a line of path,label for each image.")
    places = _header(rows[0][1])
    if places is not None:
        rows = rows[1:]
    elif max(len(cells) for _, cells in rows) > 2:
        raise InputError(
            f"{path} has more than two columns and no header: add a first line such as path,label."
        )
    at, label_at = places or (0, 1 if len(rows[0][1]) > 1 else None)
    found: list[tuple[str, str | None]] = []
    lines: dict[str, int] = {}
    for number, cells in rows:
        name = _cell(cells, at)
        label = None if label_at is None else _cell(cells, label_at)
        if not name or label == "":
            what = "path" if not name else "class"
            raise InputError(f"{path}, line {number} has no {what}: give path,label.")
        if name in lines:
            raise InputError(
                f"{path}, line {number}: {name} is already in line {lines[name]}: list every image "
                f"once."
            )
        lines[name] = number
        found.append((name, label))
    if not found:
        raise InputError(f"{path} lists no image: give a line of path,label for each.")
    return found


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The lines that are not empty: number and cells."""
    try:
        text = read_text(path, "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as a table of images: give a CSV file in UTF-8, or a folder."
        ) from error
    first = next((line for line in text.splitlines() if line.strip()), "")
    usual = (*_DELIMITERS, " ") if path.suffix.lower() == ".txt" else _DELIMITERS
    delimiter = next((each for each in usual if each in first.strip()), ",")
    reader = csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)
    try:
        return [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}: write it as CSV.") from error


def _header(cells: list[str]) -> tuple[int, int | None] | None:
    """The columns of path and class according to a header; None if the line is no header."""
    names = [cell.strip().lower() for cell in cells]
    path = next((names.index(name) for name in _PATHS if name in names), None)
    if path is None:
        # A row may have a class named target; its path has a suffix, which a header has not.
        if len(names) > 1 and names[1] in _SURE_LABELS and not Path(names[0]).suffix:
            return 0, 1
        return None
    return path, next((names.index(name) for name in _LABELS if name in names), None)


def _cell(cells: list[str], place: int) -> str:
    return cells[place].strip() if place < len(cells) else ""
