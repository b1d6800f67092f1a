"""Files of networks to be raced: a folder for each network and format, with a record beside them.

A command of ``slide_deploy.tasks`` writes the files and the record, and a command of the benchmarks
races what the record names.
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
    """Write a record, a dataclass of plain values, into the folder of its files."""
    write_text(folder / _RECORD, json.dumps(asdict(record), indent=2) + "\n")


def read_record(kind: type[T], folder: Path) -> T:
    """Read the record of a folder.

    Raises:
        InputError: if it is missing or damaged.
    """
    path = folder / _RECORD
    try:
        return validated(kind, read_json(path))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is no record of files ({error}): write them again.") from error


def folders(place: Path, command: str) -> tuple[Path, ...]:
    """The folders of all networks and formats, in the order in which networks are listed.

    Args:
        place: the folder that holds ``NETWORK/FORMAT``.
        command: that writes them, for the message.

    Raises:
        InputError: if there is none.
    """
    from benchmarks.passes.networks import NETWORKS

    order = {each.name: index for index, each in enumerate(NETWORKS)}
    found = [path.parent for path in place.glob(f"*/*/{_RECORD}")]
    if not found:
        raise InputError(f"{place} holds no files of networks: run {command}.")
    return tuple(
        sorted(found, key=lambda each: (order.get(each.parent.name, len(order)), each.name))
    )
