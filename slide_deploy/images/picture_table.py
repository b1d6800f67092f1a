"""A table of pictures: a CSV file with the path of each and its class.

Columns stand between commas, semicolons or tabs, in a ``.txt`` file between spaces too, as in
ImageNet's own lists. A first line that names its columns may put them in any order and have others
beside them; without one the path comes first and the class second.
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
# Of these a second column says by itself that the first line is one of names.
_SURE_LABELS = ("label", "class", "category", "target")
_DELIMITERS = (",", ";", "\t")


def read_table(path: Path) -> list[tuple[str, str | None]]:
    """The rows of a table: the path as it is written, and the class; None where none is given.

    Raises:
        InputError: if the file cannot be read, or a row has no path, no class where others have
            one, more columns than are known, or a picture that an earlier row has.
    """
    rows = _rows(path)
    if not rows:
        raise InputError(f"{path} is empty: give a line of path,label for each picture.")
    places = _header(rows[0][1])
    if places is not None:
        rows = rows[1:]
    elif max(len(cells) for _, cells in rows) > 2:
        raise InputError(
            f"{path} has more than two columns and no line that names them: begin it with "
            f"path,label."
        )
    at, label_at = places or (0, 1 if len(rows[0][1]) > 1 else None)
    found: list[tuple[str, str | None]] = []
    lines: dict[str, int] = {}
    for number, cells in rows:
        name = _cell(cells, at)
        label = None if label_at is None else _cell(cells, label_at)
        if not name or label == "":
            what = "path" if not name else "class"
            raise InputError(f"{path}, line {number}: it has no {what}: give path,label.")
        if name in lines:
            raise InputError(
                f"{path}, line {number}: {name} stands in line {lines[name]} already: name every "
                f"picture once."
            )
        lines[name] = number
        found.append((name, label))
    if not found:
        raise InputError(f"{path} names no picture: give a line of path,label for each.")
    return found


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The lines that are not empty, taken apart, with their numbers."""
    try:
        text = read_text(path, "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as a table of pictures: give a CSV file in UTF-8, or a folder."
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
    """Where a first line says that path and class stand; None if it is a row like the others."""
    names = [cell.strip().lower() for cell in cells]
    path = next((names.index(name) for name in _PATHS if name in names), None)
    if path is None:
        # A picture of a class that is called target is a row; its path has an ending.
        if len(names) > 1 and names[1] in _SURE_LABELS and not Path(names[0]).suffix:
            return 0, 1
        return None
    return path, next((names.index(name) for name in _LABELS if name in names), None)


def _cell(cells: list[str], place: int) -> str:
    return cells[place].strip() if place < len(cells) else ""
