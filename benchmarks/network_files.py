"""Model files to race: a folder for each network and format, with a record in each folder.

A command in ``slide_deploy.tasks`` writes the files and the record. A benchmark command races the
files of the record.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from slide_deploy.errors import InputError
from slide_deploy.files.reading import read_json
from slide_deploy.files.validation import validated
from slide_deploy.files.writing import write_text

_RECORD = "files.json"
T = TypeVar("T")


def write_record(record: Any, folder: Path) -> None:
    """Write a record (a dataclass of plain values) into the folder of its files."""
    write_text(folder / _RECORD, json.dumps(asdict(record), indent=2) + "\n")


def read_record(kind: type[T], folder: Path) -> T:
    """Read the record of a folder.

    Raises:
        InputError: The record is missing or damaged.
    """
    path = folder / _RECORD
    try:
        return validated(kind, read_json(path))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not a record of files ({error}): write the files again."
        ) from error


def folders(place: Path, command: str) -> tuple[Path, ...]:
    """Return the folders of all networks and formats, in the order of ``NETWORKS``.

    Args:
        place: The folder with ``NETWORK/FORMAT`` subfolders.
        command: The command that writes them, for the error message.

    Raises:
        InputError: There is no such folder.
    """
    from benchmarks.passes.networks import NETWORKS

    order = {each.name: index for index, each in enumerate(NETWORKS)}
    found = [path.parent for path in place.glob(f"*/*/{_RECORD}")]
    if not found:
        raise InputError(f"{place} contains no files of networks: run {command}.")
    return tuple(
        sorted(found, key=lambda each: (order.get(each.parent.name, len(order)), each.name))
    )
