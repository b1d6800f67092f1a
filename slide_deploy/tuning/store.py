"""Tuning tables on disk: the one in the wheel, and the user's own."""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.files.folders import shared_file
from slide_deploy.files.reading import read_json
from slide_deploy.files.validation import validated
from slide_deploy.files.writing import write_text
from slide_deploy.tuning.table import TABLE_VERSION, Entry

# A thousand entries need some 4 MB.
MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Table:
    """Entries and where they stand.

    Attributes:
        path: of the file; it need not exist.
        entries: one for each target, precision and geometry.
    """

    path: Path
    entries: tuple[Entry, ...] = ()

    def with_entry(self, entry: Entry) -> "Table":
        """The table with this entry in the place of an older one of the same contest."""
        others = [each for each in self.entries if each.key != entry.key]
        return replace(self, entries=tuple(sorted([*others, entry], key=lambda each: each.key)))


@dataclass(frozen=True)
class _Document:
    version: int
    entries: tuple[Entry, ...]


def shipped_file() -> Path:
    """The table in the wheel."""
    return Path(__file__).with_name("defaults.json")


def user_file() -> Path | None:
    """The user's own table; None without platformdirs, which whoever tunes has."""
    if find_spec("platformdirs") is None:
        return None
    from platformdirs import user_cache_path

    return user_cache_path("slide-deploy") / "tuning.json"


def tables_digest() -> str:
    """SHA-256 over the tables that are known, the user's own first."""
    files = [path for path in (user_file(), shipped_file()) if path is not None and path.exists()]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def known_tables() -> tuple[Table, ...]:
    """The user's own table, if there is one, then the one in the wheel.

    Raises:
        InputError: if one is damaged.
    """
    own = user_file()
    paths = [shipped_file()] if own is None or not own.exists() else [own, shipped_file()]
    return tuple(read_table(path) for path in paths)


def read_table(path: Path) -> Table:
    """The table that a file holds.

    Raises:
        InputError: the file is missing, damaged or too new.
    """
    try:
        content = read_json(path, MAX_BYTES)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): give a table that slide-deploy tune wrote."
        ) from error
    except ValueError as error:
        raise _unusable(path, "it is not valid JSON") from error
    version = content.get("version") if isinstance(content, dict) else None
    if type(version) is int and version > TABLE_VERSION:
        raise InputError(
            f"{path} was written by a newer slide-deploy (version {version} of the table; this one "
            f"knows {TABLE_VERSION}): upgrade with pip install --upgrade slide-deploy, or remove "
            f"the file."
        )
    if version != TABLE_VERSION:
        raise _unusable(path, f"it states no version that is known, as {TABLE_VERSION}")
    try:
        entries = validated(_Document, content).entries
    except (ValueError, RecursionError) as error:
        raise _unusable(path, str(error)) from error
    if len({entry.key for entry in entries}) < len(entries):
        raise _unusable(path, "two entries are of the same contest")
    return Table(path, entries)


def write_table(table: Table) -> None:
    """Write a table so that ``read_table`` returns it; the file is replaced as a whole.

    Raises:
        InputError: if it cannot be written.
    """
    document = asdict(_Document(TABLE_VERSION, table.entries))
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with suppress(OSError):  # writing says what is wrong with the folder
        table.path.parent.mkdir(parents=True, exist_ok=True)
    write_text(table.path, text)


def add_entry(table: Table, entry: Entry) -> Table:
    """Write a table with one more entry; what others have added to the file meanwhile stays.

    Returns:
        The table as it is written.

    Raises:
        InputError: if it cannot be written, or the file was damaged meanwhile.
    """
    with shared_file(table.path):
        present = read_table(table.path) if table.path.exists() else Table(table.path)
        added = present.with_entry(entry)
        write_table(added)
    return added


def _unusable(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} is no tuning table that can be used: {what}; remove it and run slide-deploy tune "
        f"again."
    )
