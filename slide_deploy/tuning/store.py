"""Tuning tables on disk: the shipped table and the user's own."""

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
    """The entries of a tuning table and the path of its file.

    Attributes:
        path: path of the file, which may not exist yet.
        entries: one entry for each target, precision and geometry.
    """

    path: Path
    entries: tuple[Entry, ...] = ()

    def with_entry(self, entry: Entry) -> "Table":
        """Return the table with this entry, which replaces an older one with the same key."""
        others = [each for each in self.entries if each.key != entry.key]
        return replace(self, entries=tuple(sorted([*others, entry], key=lambda each: each.key)))


@dataclass(frozen=True)
class _Document:
    version: int
    entries: tuple[Entry, ...]


def shipped_file() -> Path:
    """Return the path of the table that is installed with the package."""
    return Path(__file__).with_name("defaults.json")


def user_file() -> Path | None:
    """Return the path of the user's table; None without platformdirs, which ``tune`` requires."""
    if find_spec("platformdirs") is None:
        return None
    from platformdirs import user_cache_path

    return user_cache_path("slide-deploy") / "tuning.json"


def tables_digest() -> str:
    """Return the SHA-256 of all tables that exist, the user's own first."""
    files = [path for path in (user_file(), shipped_file()) if path is not None and path.exists()]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def known_tables() -> tuple[Table, ...]:
    """Return the user's table, if it exists, then the shipped table.

    Raises:
        InputError: a table is damaged.
    """
    own = user_file()
    paths = [shipped_file()] if own is None or not own.exists() else [own, shipped_file()]
    return tuple(read_table(path) for path in paths)


def read_table(path: Path) -> Table:
    """Read a table from its file.

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
            f"{path} was written by a newer slide-deploy (table version {version}; this one reads "
            f"{TABLE_VERSION}): upgrade with pip install --upgrade slide-deploy, or remove the "
            f"file."
        )
    if version != TABLE_VERSION:
        raise _unusable(path, f"its version is not {TABLE_VERSION}")
    try:
        entries = validated(_Document, content).entries
    except (ValueError, RecursionError) as error:
        raise _unusable(path, str(error)) from error
    if len({entry.key for entry in entries}) < len(entries):
        raise _unusable(path, "two entries have the same target, precision and geometry")
    return Table(path, entries)


def write_table(table: Table) -> None:
    """Write a table atomically, in the format that ``read_table`` reads.

    Raises:
        InputError: the file cannot be written.
    """
    document = asdict(_Document(TABLE_VERSION, table.entries))
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with suppress(OSError):  # write_text reports the problem
        table.path.parent.mkdir(parents=True, exist_ok=True)
    write_text(table.path, text)


def add_entry(table: Table, entry: Entry) -> Table:
    """Add an entry to the file of a table, and keep entries that other processes have added.

    Returns:
        The table as written.

    Raises:
        InputError: the file cannot be written, or is damaged.
    """
    with shared_file(table.path):
        present = read_table(table.path) if table.path.exists() else Table(table.path)
        added = present.with_entry(entry)
        write_table(added)
    return added


def _unusable(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} is not a usable tuning table: {what}; remove it and run slide-deploy tune again."
    )
